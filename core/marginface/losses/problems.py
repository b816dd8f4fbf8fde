"""Test problems for losses: embeddings at all angles and norms, class weights, state, draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.losses.base import MarginLoss
from marginface.losses.registry import choices, get, parameters
from marginface.losses.values import Sample

DTYPES = ("float64", "float32", "bfloat16", "float16")
LATE = (0, 10_000)  # steps before a problem's
SIZES = ((6, 7, 5), (5, 3, 8), (9, 12, 4), (4, 2, 3))  # batch, classes, embedding size


@dataclass(frozen=True)
class Problem:
    """Arguments of one evaluation of a loss, as `MarginLoss.evaluate` takes them."""

    embeddings: NDArray[Any]  # [batch, size]
    weight: NDArray[Any]  # [classes * centers, size]
    labels: NDArray[Any]  # [batch]
    bias: NDArray[Any] | None  # [classes], [1] or None
    state: dict[str, NDArray[Any]]
    draw: dict[str, NDArray[Any]]


def problem(
    loss: MarginLoss,
    rng: np.random.Generator,
    *,
    batch: int = 6,
    classes: int = 7,
    size: int = 5,
    dtype: str = "float64",
) -> Problem:
    """Draw a problem: angles to the own class all over (0, pi), norms from 5 to 120.

    It has as many classes as the loss needs, if those are more.
    """
    classes = max(classes, loss.min_classes)
    weight = rng.normal(size=(classes * loss.num_centers, size))
    labels = rng.integers(0, classes, batch)
    own_centers = weight[labels * loss.num_centers]
    own_centers /= np.linalg.norm(own_centers, axis=1, keepdims=True)
    aside = rng.normal(size=own_centers.shape)
    aside -= (aside * own_centers).sum(1, keepdims=True) * own_centers
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    theta = rng.uniform(0.05, np.pi - 0.05, (batch, 1))
    embeddings = rng.uniform(5, 120, (batch, 1)) * (
        np.cos(theta) * own_centers + np.sin(theta) * aside
    )
    bias = loss.initial_bias(classes)
    wide = "float64" if dtype == "float64" else "float32"  # the weights' type
    return Problem(
        embeddings=rounded(embeddings, dtype),
        weight=weight.astype(wide),
        labels=labels,
        bias=None if bias is None else (bias + rng.normal(0, 0.1, bias.shape)).astype(wide),
        state=_later(loss, rng, classes, size),
        draw=loss.draw(rng, batch),
    )


def rounded(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Round to a dtype; bfloat16, which NumPy lacks, comes as float32 of exactly such values."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)  # to even
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32)


def variants(name: str) -> Iterator[MarginLoss]:
    """Return a loss in every combination of its named choices, such as gradient and past_pi."""
    options = choices(name)
    for values in product(*options.values()):
        yield get(name, **dict(zip(options, values, strict=True)))


def label(loss: MarginLoss) -> str:
    """Return a loss's name with the choices that are not its defaults."""
    usual = parameters(loss.name)
    changed = [f"{k}={v}" for k, v in asdict(loss).items() if v != usual[k]]
    return f"{loss.name}({', '.join(changed)})" if changed else loss.name


def _later(
    loss: MarginLoss, rng: np.random.Generator, classes: int, size: int
) -> dict[str, NDArray[Any]]:
    """Return the state after some steps: at the initial one, code that ignores it would pass.

    Steps are counted from one of LATE on, so that it is seen, too, what begins or ends late.
    """
    state, kept = loss.initial_state(classes), loss.class_state(classes, size)
    if kept:
        late = rng.choice(LATE)
        state = {k: v + late if v.dtype.kind == "i" else v for k, v in state.items()}
    for _ in range(3):
        draw, cosines, norms = loss.draw(rng, 4), rng.uniform(-1, 1, 4), rng.uniform(5, 60, 4)
        labels = rng.integers(0, classes, 4 if kept else 0)
        own = {name: value[labels] for name, value in kept.items() if value.ndim == 1}
        _, after = loss.prepare(cosines, norms, state | own, draw)
        state = {name: after[name] for name in state}
        if loss.finishes:
            state = loss.finish(cosines, rng.uniform(4, 8, 4), state)
        for label, cosine, norm in zip(labels, cosines, norms, strict=False):
            direction = rng.normal(size=size)
            sample = Sample(direction / np.linalg.norm(direction), norm, cosine)
            rows = {name: value[label] for name, value in kept.items()}
            for name, value in loss.remember(rows, sample, state).items():
                kept[name][label] = value
    return state | kept
