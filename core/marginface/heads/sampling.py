"""Samples of classes for a head's step, drawn here for every framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.losses import MarginLoss
from marginface.optimizers import SGD, AdamW

Sampling = Literal["partial_fc", "corrected"]
T = TypeVar("T")
SAMPLE_DRAWS = ("classes", "log_weights")  # keys of `draw` for a sampled head


def draw_classes(
    rng: np.random.Generator,
    labels: NDArray[np.integer[Any]],
    num_classes: int,
    sample_rate: float,
    sampling: Sampling = "partial_fc",
) -> dict[str, NDArray[Any]]:
    """Draw the classes of a step: every label's, and others at random up to the rate.

    Of C classes there are max(P, floor(rate C)), where P are the labels' own; each other class is
    as likely as the next, q = (sampled - P) / (C - P).

    Args:
        rng: the step's generator; the same on every process.
        labels: [batch], of all processes.
        num_classes: C.
        sample_rate: in (0, 1].
        sampling: `"partial_fc"` takes the softmax over the sampled classes alone, as InsightFace
            does (2203.15565). `"corrected"` adds -ln q to the logits of classes that are there by
            chance, so that the expected sum of exponentials (of what else a loss adds up: softplus
            terms in SphereFace2 and UniFace) is that of all classes.

    Returns:
        `classes`, sorted, int64 [sampled], and `log_weights`, float64 [sampled].

    Raises:
        MarginfaceError: a rate out of range, or an unknown kind of sampling.

    >>> rng = np.random.default_rng(0)
    >>> draw_classes(rng, np.array([7, 2, 7]), 10, 0.5)["classes"]
    array([2, 5, 6, 7, 9])
    """
    check_update(SGD(), sample_rate, sampling, 1)
    positives = np.unique(np.asarray(labels, np.int64))
    wanted = min(max(len(positives), int(sample_rate * num_classes)), num_classes)
    others = wanted - len(positives)
    chosen = rng.choice(num_classes - len(positives), others, replace=False, shuffle=False)
    # Numbers among the classes that are no label's, to numbers among all.
    chosen += np.searchsorted(positives - np.arange(len(positives)), chosen, side="right")
    classes = np.concatenate([positives, chosen])
    order = classes.argsort()
    log_weights = np.zeros(wanted)
    if sampling == "corrected" and others:
        log_weights[len(positives) :] = -math.log(others / (num_classes - len(positives)))
    return {"classes": classes[order], "log_weights": log_weights[order]}


def draw_step(
    loss: MarginLoss,
    rng: np.random.Generator,
    labels: NDArray[np.integer[Any]],
    num_classes: int,
    sample_rate: float = 1.0,
    sampling: Sampling = "partial_fc",
) -> dict[str, NDArray[Any]]:
    """Draw a head's randomness for a batch: the loss's margins, and classes below rate 1."""
    draw = loss.draw(rng, len(labels))
    if sample_rate < 1:
        draw |= draw_classes(rng, labels, num_classes, sample_rate, sampling)
    return draw


def split_sample(given: Mapping[str, T], sample_rate: float) -> tuple[dict[str, T], dict[str, T]]:
    """Split a head's draw into the sampled classes and the loss's part.

    Raises:
        MarginfaceError: classes for a head that takes all of them, or none for one that does not.
    """
    sample = {name: given[name] for name in SAMPLE_DRAWS if name in given}
    if len(sample) != (0 if sample_rate == 1 else len(SAMPLE_DRAWS)):
        raise MarginfaceError(
            f"a head with sample_rate {sample_rate} got {', '.join(sample) or 'no classes'} in "
            "draw; pass draw=head.draw(rng, labels)"
        )
    return sample, {name: value for name, value in given.items() if name not in sample}


def check_update(update: object, sample_rate: float, sampling: str, accumulation: int) -> None:
    """Check a head's `update`, `sample_rate` and `sampling`, and that they go together."""
    number = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
    if not (number and 0 < sample_rate <= 1):
        raise MarginfaceError(f"sample_rate must be in (0, 1], got {sample_rate!r}")
    if sampling not in get_args(Sampling):
        raise MarginfaceError(f"sampling must be one of {get_args(Sampling)}, got {sampling!r}")
    if update is None and sample_rate < 1:
        raise MarginfaceError(
            f"sample_rate {sample_rate} needs update=SGD(...) or AdamW(...): an optimizer would "
            "move the classes that were not sampled"
        )
    if update is not None and not isinstance(update, SGD | AdamW):
        kind = type(update)
        foreign = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        raise MarginfaceError(
            "update must be marginface.SGD(...) or AdamW(...), whose rate is head.rate, "
            f"got {foreign}{kind.__qualname__}"
        )
    if update is not None and accumulation > 1:
        raise MarginfaceError(
            f"update steps at every call, so accumulation must be 1, got {accumulation}"
        )
