"""A user's own loss, tried on two samples of three classes before anything is trained with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.losses.base import MarginLoss
from marginface.losses.values import Logit, Memory, Sample
from marginface.own_code import in_one_line

COSINES = np.array([[0.5, 0.1, -0.2], [0.3, -0.25, 0.0]])
LABELS = [0, 1]
TARGETS, NORMS = COSINES[[0, 1], LABELS], np.array([1.0, 2.0])
BATCH, CLASSES = COSINES.shape
EMBEDDINGS = np.array([[0.6, 0.0, 0.0, 0.8], [0.0, 1.0, 0.0, 0.0]])
SIZE = EMBEDDINGS.shape[1]


def try_spec(loss: MarginLoss) -> None:
    """Raise unless the reference of a loss returns what heads and the reference itself take.

    Raises:
        MarginfaceError: a method raises, or returns something else.
    """
    trial = _Trial(type(loss).__name__, loss)
    with in_one_line(f"{trial.who}: num_centers fails"):
        centers = loss.num_centers
    trial.require(
        _is(centers, Integral) and centers >= 1, "num_centers", centers, "a whole number above 0"
    )
    bias = trial.call("initial_bias", CLASSES)
    trial.require(
        bias is None or (_is_array(bias, "f") and bias.shape in ((CLASSES,), (1,))),
        f"initial_bias({CLASSES})",
        bias,
        "None or a NumPy array of float64, [num_classes] or [1]",
    )
    pull = trial.code.margin_pull
    trial.require(
        pull is None or (_is(pull, Real) and bias is not None and bias.shape == (CLASSES,)),
        f"initial_bias({CLASSES})",
        bias,
        "with margin_pull, a number, margins [num_classes]",
    )
    state, draw = trial.inputs()
    radius = trial.call("radius", state, shown="radius")
    trial.require(_is(radius, Real), "radius", radius, "a number")
    kept = trial.class_state(state)
    prepared = trial.prepare(TARGETS, NORMS, state, _own_numbers(kept), draw)
    trial.memory(centers, kept, state)
    trial.finish(TARGETS, np.array([3.0, 4.0]), state)
    for i, label in enumerate(LABELS):
        with in_one_line(f"{trial.who}: prepare returns no numbers"):
            values = {name: float(each[i]) for name, each in prepared.items()}
        values |= trial.tally(float(COSINES[i, 1 - label]), values)
        if pull is not None:
            values["margin"] = float(bias[label])
        target = trial.logit("target", float(TARGETS[i]), float(NORMS[i]), values)
        logits = [
            target if j == label else trial.logit("negative", float(COSINES[i, j]), values)
            for j in range(CLASSES)
        ]
        returned = trial.call("reduce", logits, label)
        trial.require(
            _is_pair(returned) and _is(returned[0], Real) and _is_row(returned[1]),
            "reduce",
            returned,
            "a pair, the loss and its derivative to every logit",
        )
        returned = trial.call("penalty", float(NORMS[i]))
        trial.require(
            _is_pair(returned) and all(_is(value, Real) for value in returned),
            "penalty",
            returned,
            "a pair of numbers, the penalty and its slope",
        )


def try_code(code: Any, loss: MarginLoss, backend: str, tensor: Callable[[Any], Any]) -> Any:
    """Return a loss's tensor code, made of its class, unless it returns what a head cannot take.

    Args:
        code: the class.
        loss: what it computes.
        backend: for messages.
        tensor: makes a tensor of a NumPy array.

    Raises:
        MarginfaceError: a method raises, or returns something else.
    """
    try_spec(loss)
    who = f"{loss.name} in {backend}"
    with in_one_line(f"{who}: {code.__name__} cannot be made"):
        ops = code(loss)

    def single(array: NDArray[Any]) -> Any:
        return tensor(array.astype(np.float32) if array.dtype.kind == "f" else array)

    trial = _Trial(who, ops)

    def named(arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: single(np.asarray(value)) for name, value in arrays.items()}

    of_spec = _Trial(type(loss).__name__, loss)
    state, draw = map(named, of_spec.inputs())
    kept = loss.class_state(CLASSES, SIZE)
    cosines, targets, norms = single(COSINES), single(TARGETS), single(NORMS)
    prepared = trial.prepare(targets, norms, state, named(_own_numbers(kept)), draw)
    trial.finish(targets, single(np.array([3.0, 4.0])), state)
    radius = trial.call("radius", state, shown="radius")
    if not _is(radius, Real):
        trial.check_shape("radius returns", radius, "a number", ())
    if kept:
        samples = Sample(single(EMBEDDINGS), norms, targets)
        trial.remembered(named({n: v[LABELS] for n, v in kept.items()}), samples, state)
        recalled = trial.call("recall", named(kept), state, shown="recall")
        if recalled is not None:
            trial.check_shape("recall returns a share of", recalled[0], "[classes]", (CLASSES,))
            shape = CLASSES, SIZE
            trial.check_shape("recall returns vectors of", recalled[1], "[classes, size]", shape)
    if loss.margin_pull is not None:
        prepared["margin"] = targets * 0
    shape = (BATCH, CLASSES)
    counted = trial.tally(cosines, prepared)
    for name, each in counted.items():
        trial.check_shape(f"tally returns for '{name}'", each, "[batch, classes]", shape)
    prepared |= {name: each[:, 0] for name, each in counted.items()}
    target = trial.tensor("target", "[batch]", (BATCH,), targets, norms, prepared)
    negatives = trial.tensor("negatives", "[batch, classes]", shape, cosines, prepared)
    trial.tensor("reduce", "[batch]", (BATCH,), target, negatives[:, 0])
    trial.tensor("penalty", "[batch]", (BATCH,), norms)
    return ops


@dataclass(frozen=True)
class _Trial:
    who: str  # begins every message
    code: Any  # a loss, or its tensor code

    def call(self, method: str, *given: Any, shown: str = "") -> Any:
        shown = shown or f"{method}({', '.join(map(repr, given))})"
        with in_one_line(f"{self.who}: {shown} fails"):
            return getattr(self.code, method)(*given)

    def require(self, ok: Any, call: str, returned: Any, expected: str) -> None:
        if not ok:
            shown = " ".join(repr(returned).split())[:100]
            raise MarginfaceError(f"{self.who}: {call} returns {shown}; expected {expected}")

    def inputs(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the initial state, and a draw for the batch."""
        state = self.call("initial_state", CLASSES)
        self.require(
            isinstance(state, dict)
            and all(isinstance(k, str) and _is_array(v, "biuf") for k, v in state.items()),
            f"initial_state({CLASSES})",
            state,
            "NumPy arrays by name",
        )
        names = self.code.draws
        if not (isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)):
            raise MarginfaceError(
                f"{self.who}: draws is {names!r}; expected a tuple of names, as ('margin',)"
            )
        draw = self.call("draw", np.random.default_rng(0), BATCH, shown=f"draw(rng, {BATCH})")
        self.require(
            isinstance(draw, dict)
            and sorted(map(str, draw)) == sorted(names)
            and all(_is_array(each, "biuf") and each.shape == (BATCH,) for each in draw.values()),
            f"draw(rng, {BATCH})",
            draw,
            f"NumPy arrays [batch] by the names of draws, {', '.join(names) or 'none'}",
        )
        return state, draw

    def class_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rows that are kept for each class at first."""
        kept = self.call("class_state", CLASSES, SIZE)
        self.require(
            isinstance(kept, dict)
            and all(isinstance(k, str) and _is_array(v, "biuf") for k, v in kept.items())
            and all(value.shape[:1] == (CLASSES,) for value in kept.values()),
            f"class_state({CLASSES}, {SIZE})",
            kept,
            f"NumPy arrays by name with a row a class, here {CLASSES} rows",
        )
        for name in kept:
            if name in state or name in ("weight", "bias"):
                raise MarginfaceError(
                    f"{self.who}: class_state calls an array '{name}', as the loss's state or a "
                    "head's array is called; choose another name"
                )
        return dict(kept)

    def memory(self, centers: int, kept: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Check what a reference remembers of a sample, and recalls of a class."""
        rows = {name: value[0] for name, value in kept.items()}
        if kept:
            self.remembered(rows, Sample(EMBEDDINGS[0], NORMS[0], TARGETS[0]), state)
        recalled = self.call("recall", rows, dict(state), shown="recall")
        if recalled is None:
            return
        self.require(
            isinstance(recalled, Memory)
            and _is(recalled.share, Real)
            and 0 <= recalled.share <= 1
            and np.shape(recalled.vector) == (SIZE,),
            "recall",
            recalled,
            "None or a marginface.losses.Memory(share, vector), the share in [0, 1]",
        )
        if centers > 1 and self.code.companion is None:
            raise MarginfaceError(
                f"{self.who}: recall goes with one centre a class; return 1 as num_centers, "
                f"got {centers}"
            )
        if not self.code.normalized and self.code.companion is None:
            raise MarginfaceError(
                f"{self.who}: recall gives cosines a direction, and this loss has products; set "
                "normalized to True"
            )

    def remembered(self, rows: Mapping[str, Any], sample: Sample, state: Mapping[str, Any]) -> None:
        """Check the rows that `remember` returns."""
        returned = self.call("remember", rows, sample, dict(state), shown="remember")
        self.require(
            isinstance(returned, Mapping) and set(returned) == set(rows),
            "remember",
            returned,
            f"rows by the names of class_state, {', '.join(rows)}",
        )
        for name, row in rows.items():
            given = returned[name]
            given = np.asarray(given) if isinstance(given, Real) else given
            self.check_shape(f"remember returns for '{name}'", given, "as its row", row.shape)

    def prepare(
        self, cosines: Any, norms: Any, state: Any, own_numbers: Any, draw: Any
    ) -> dict[str, Any]:
        """Return the values that `prepare` makes of a batch, once they and the state are right."""
        given = {**state, **own_numbers}
        returned = self.call("prepare", cosines, norms, given, draw, shown="prepare")
        self.require(
            _is_pair(returned) and all(isinstance(each, Mapping) for each in returned),
            "prepare",
            returned,
            "a pair, values [batch] by name and the next state by name",
        )
        prepared, after = returned
        after = {name: value for name, value in after.items() if name not in own_numbers}
        for name, value in prepared.items():
            self.check_shape(f"prepare returns for '{name}'", value, "[batch]", (BATCH,))
        self.check_next("prepare", after, state)
        return dict(prepared)

    def finish(self, cosines: Any, others: Any, state: Any) -> None:
        """Raise unless the state that `finish` returns is right."""
        after = self.call("finish", cosines, others, dict(state), shown="finish")
        self.require(isinstance(after, Mapping), "finish", after, "the next state by name")
        self.check_next("finish", after, state)

    def check_next(self, method: str, after: Any, state: Any) -> None:
        """Raise unless the next state has the names and shapes of the state."""
        if set(after) != set(state):
            wanted, got = (", ".join(sorted(map(str, a))) or "nothing" for a in (state, after))
            raise MarginfaceError(
                f"{self.who}: {method} returns the next state of {got}; expected {wanted}, as "
                "initial_state has it"
            )
        for name, value in state.items():
            what = f"{method} returns for the next '{name}'"
            self.check_shape(what, after[name], "as in initial_state", value.shape)

    def tally(self, cosines: Any, prepared: Any) -> dict[str, Any]:
        """Return what `tally` counts of cosines, once its names are right."""
        counted = self.call("tally", cosines, prepared, shown="tally")
        wanted = self.code.tallies if isinstance(self.code, MarginLoss) else self.code.spec.tallies
        self.require(
            isinstance(counted, dict) and set(counted) == set(wanted),
            "tally",
            counted,
            f"values by the names of tallies, {', '.join(wanted) or 'none'}",
        )
        return dict(counted)

    def logit(self, method: str, *given: Any) -> float:
        """Return the value of a `Logit` that the reference returns."""
        returned = self.call(method, *given)
        self.require(
            isinstance(returned, Logit) and all(_is(each, Real) for each in returned),
            f"{method}({', '.join(map(repr, given))})",
            returned,
            "a marginface.losses.Logit(value, slope) of numbers",
        )
        return float(returned.value)

    def tensor(self, method: str, kind: str, shape: Any, *given: Any) -> Any:
        """Return the tensor that tensor code returns, once its shape is right."""
        shown = method
        if isinstance(given[-1], dict):
            shown += f", given {', '.join(map(str, given[-1])) or 'nothing'} by prepare,"
        returned = self.call(method, *given, shown=shown)
        self.check_shape(f"{method} returns", returned, kind, shape)
        return returned

    def check_shape(self, what: str, value: Any, kind: str, expected: Any) -> None:
        shape = getattr(value, "shape", None)
        if shape is None or tuple(shape) != tuple(expected):
            received = f"a {type(value).__name__}" if shape is None else f"shape {tuple(shape)}"
            raise MarginfaceError(
                f"{self.who}: {what} {received}; expected {kind}, here {tuple(expected)}"
            )


def _own_numbers(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is one number a class, of the samples' own classes."""
    return {name: value[LABELS] for name, value in kept.items() if value.ndim == 1}


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _is_row(values: Any) -> bool:
    """Return whether there is a number for each class."""
    listed = isinstance(values, tuple | list) or (isinstance(values, np.ndarray) and values.ndim)
    return bool(listed) and len(values) == CLASSES and all(_is(value, Real) for value in values)


def _is(value: Any, kind: type) -> bool:
    """Return whether a value is such a number; a NumPy array without dimensions is one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)


def _is_array(value: Any, kinds: str) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind in kinds
