"""The errors between two evaluations of a loss, and their tolerances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from marginface.backend import Backend
from marginface.losses import Evaluation, MarginLoss
from marginface.losses.problems import SIZES, Problem, label, problem, variants
from marginface.losses.registry import is_own
from marginface.losses.trial import try_spec
from marginface.own_code import telling_own_errors

SPEC = "spec"
SEEDS = 4
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
# Half-precision embeddings are widened before anything is computed. Only their gradient comes
# back in half precision, where its last place may be off.
LAST_PLACE = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


@dataclass(frozen=True)
class Deviation:
    """The largest error of one quantity of one loss in one dtype, between two implementations.

    Args:
        loss: name of the loss.
        dtype: of the embeddings.
        pair: what was compared: a backend and "spec", or two backends.
        quantity: "loss", "d embeddings", "d weight", "d bias" or "state".
        error: relative to the largest value of the array.
        allowed: the tolerance.
        case: the variant and problem that it was found at.
    """

    loss: str
    dtype: str
    pair: tuple[str, str]
    quantity: str
    error: float
    allowed: float
    case: str

    @property
    def passed(self) -> bool:
        """Whether the error is within its tolerance; an error that is no number is not."""
        return self.error <= self.allowed


def compare(
    name: str,
    dtype: str,
    backends: Mapping[str, Backend],
    *,
    seeds: int = SEEDS,
    device: str = "auto",
) -> list[Deviation]:
    """Return the largest errors of a loss, over its named choices and drawn problems."""
    worst: dict[tuple[tuple[str, str], str], Deviation] = {}
    for loss, case, drawn in _cases(name, dtype, seeds):
        evaluations = {}
        for b, backend in backends.items():
            what = f"{loss.name} in {b} fails"
            with telling_own_errors(what) if is_own(loss) else nullcontext():
                evaluations[b] = backend.evaluate_loss(loss, drawn, dtype, device=device)
        evaluations[SPEC] = evaluate_spec(loss, drawn)
        for pair in combinations(evaluations, 2):
            for quantity, error in errors(evaluations[pair[0]], evaluations[pair[1]]).items():
                key, allowed = (pair, quantity), tolerance(dtype, quantity)
                if key not in worst or not error <= worst[key].error:
                    worst[key] = Deviation(name, dtype, pair, quantity, error, allowed, case)
    return list(worst.values())


def evaluate_spec(loss: MarginLoss, problem: Problem) -> Evaluation:
    """Evaluate a problem with the NumPy reference."""
    return loss.evaluate(
        problem.embeddings,
        problem.weight,
        problem.labels,
        bias=problem.bias,
        state=problem.state,
        draw=problem.draw,
    )


def errors(actual: Evaluation, expected: Evaluation, *, least: float = 1e-30) -> dict[str, float]:
    """Return the errors of loss, gradients and state, each relative to its array's largest value.

    Args:
        actual: what an implementation gives.
        expected: what it is held to.
        least: a gradient whose largest value is smaller counts as this large: what is left of one
            that cancels is rounding.

    Raises:
        KeyError: a gradient or a state that only one of them has.
    """
    result = {"loss": _error(actual.loss, expected.loss, 1e-30)}
    for name in expected.gradients | actual.gradients:
        result[f"d {name}"] = _error(actual.gradients[name], expected.gradients[name], least)
    for name in expected.state | actual.state:
        error = _error(actual.state[name], expected.state[name], 1e-30)
        result["state"] = max(result.get("state", 0.0), error)
    return result


def tolerance(dtype: str, quantity: str) -> float:
    """Return the tolerance: the largest error that rounding explains."""
    if dtype in LAST_PLACE:
        return LAST_PLACE[dtype] if quantity == "d embeddings" else TOLERANCE["float32"]
    return TOLERANCE[dtype]


def broken(rows: Iterable[Deviation]) -> list[Deviation]:
    """Return the comparisons whose error is beyond the tolerance, the worst first."""
    return sorted((row for row in rows if not row.passed), key=lambda row: -row.error)


def _cases(name: str, dtype: str, seeds: int) -> Iterator[tuple[MarginLoss, str, Problem]]:
    for loss in variants(name):
        if is_own(loss):
            try_spec(loss)
        for seed in range(seeds):
            batch, classes, size = SIZES[seed % len(SIZES)]
            rng = np.random.default_rng(seed)
            drawn = problem(loss, rng, batch=batch, classes=classes, size=size, dtype=dtype)
            yield loss, f"{label(loss)}, seed {seed}", drawn


def _error(actual: Any, expected: Any, least: float) -> float:
    """Return the largest difference over the largest expected value; infinite if not finite."""
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape or not np.isfinite(a).all():
        return math.inf
    largest = max(float(np.abs(b).max(initial=0)), least)
    return float(np.abs(a - b).max(initial=0)) / largest
