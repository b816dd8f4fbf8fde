"""What a head measures of a batch beside its loss."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.heads.sharding import Shard
from marginface.losses import MIN_NORM, MarginLoss

Float = NDArray[np.float64]

T = TypeVar("T")


class HeadMetrics(NamedTuple, Generic[T]):
    """Metrics of a batch, without margins; each a number of the framework.

    Args:
        accuracy: the share of samples that are nearer to their own class than to any other.
        target_angle: the mean angle between embeddings and their own classes, in radians.
    """

    accuracy: T
    target_angle: T


def check_unshared(shard: Shard | None) -> None:
    """Raise for a head that has a part of the classes only."""
    if shard is not None:
        raise MarginfaceError(
            f"this head is shard {shard.index} of {shard.count}: no process has the logits of all "
            "classes; `measure` works with shards, and head.arrays() gathers the class weights"
        )


def measure(
    loss: MarginLoss,
    embeddings: Float,
    weight: Float,
    labels: NDArray[np.integer[Any]],
    bias: Float | None = None,
) -> HeadMetrics[float]:
    """Return the metrics of a batch: the oracle, in loops.

    Args:
        loss: of the head.
        embeddings: [batch, embedding_size], not normalised.
        weight: class weights [classes * num_centers, embedding_size], not normalised; a class's
            centres follow each other.
        labels: [batch], in 0 .. classes - 1.
        bias: [classes], [1] or None.

    >>> measure(MarginLoss(), np.eye(2), np.eye(2), np.array([0, 1]))
    HeadMetrics(accuracy=1.0, target_angle=0.0)
    """
    centers, correct, angles = loss.num_centers, 0, 0.0
    for x, label in zip(embeddings, labels, strict=True):
        of_classes = weight.reshape(-1, centers, weight.shape[1])
        cosines = [max(_cosine(x, w) for w in own) for own in of_classes]
        logits = cosines if loss.normalized else [max(float(w @ x) for w in c) for c in of_classes]
        if bias is not None and loss.margin_pull is None:
            logits = list(np.array(logits) + bias)
        others = [logit for j, logit in enumerate(logits) if j != label]
        correct += bool(logits[label] > max(others, default=-np.inf))
        angles += float(np.arccos(np.clip(cosines[label], -1, 1)))
    return HeadMetrics(correct / len(labels), angles / len(labels))


def _cosine(x: Float, w: Float) -> float:
    lengths = float(np.linalg.norm(x)), float(np.linalg.norm(w))
    return float(x @ w) / (lengths[0] * lengths[1]) if min(lengths) > MIN_NORM else 0.0
