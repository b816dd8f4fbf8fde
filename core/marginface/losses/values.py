"""What losses take and return: arrays, logits with their slopes, samples and memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Numbers = Mapping[str, float]
Gradient = Literal["exact", "straight_through"]
PastPi = Literal["monotone", "mirror", "clip", "none"]
Sum = Literal["logsumexp", "softplus", "plain"]  # of logits, softplus(logit), logits as they are

MIN_NORM = 1e-12  # a shorter vector has no direction: its cosines and their gradients are 0
# d cos(theta + m) / d cos(theta) = sin(theta + m) / sin(theta) has a pole at theta = 0. Below this
# sine (0.06 degrees) the slope stays constant; the embedding's gradient carries another sin(theta).
MIN_SINE = 1e-3


class Logit(NamedTuple):
    """A value, and its derivatives with respect to the cosine, the norm and a learned margin."""

    value: float
    slope: float
    norm_slope: float = 0.0
    margin_slope: float = 0.0


class Sample(NamedTuple):
    """What a training step knows of one sample, for its class to keep; heads have arrays [batch].

    Args:
        embedding: of length 1, [embedding_size].
        norm: of the embedding.
        cosine: to the sample's own class.
    """

    embedding: Any
    norm: Any
    cosine: Any


class Memory(NamedTuple):
    """What a loss makes of the rows of one class; heads have arrays [classes].

    Args:
        share: of `vector` in the class's direction, in [0, 1); with a `companion`, whether the
            class has a vector, 0 or 1.
        vector: of length 1, [embedding_size].
    """

    share: Any
    vector: Any


def softplus_sum(
    logits: list[float], label: int, positive: float, negative: float
) -> tuple[float, list[float]]:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j), and its derivatives.

    The reduction of losses with a binary question for each class: is it the sample's?
    """
    loss, slopes = 0.0, []
    for j, z in enumerate(logits):
        weight, sign = (positive, -1.0) if j == label else (negative, 1.0)
        loss += weight * float(np.logaddexp(0.0, sign * z))
        slopes.append(weight * sign * sigmoid(sign * z))
    return loss, slopes


def sigmoid(z: float) -> float:
    """Return 1 / (1 + e^-z), without overflow."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
