"""The seam inside every loss, in TensorFlow: target logit, negatives, reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import MIN_NORM, MarginLoss

Spec = TypeVar("Spec", bound=MarginLoss)
Tensors = Mapping[str, Tensor]


class LossOps(Generic[Spec]):
    """What a loss computes, on tensors; the spec holds every hyperparameter."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what `target` and `negatives` take for each sample [batch], and the next state.

        The head detaches `cosines` and `norms`: what comes of them is a constant to the gradient.
        """
        del cosines, norms, draw
        return {}, dict(state)

    def target(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        del prepared
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        del prepared
        return cosines

    def reduce(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `logits` are scaled and hold no margin."""
        on_target = tf.one_hot(labels, tf.shape(logits)[1], True, False, dtype=tf.bool)
        others = tf.where(on_target, logits.dtype.min, logits)
        return tf.nn.softplus(tf.reduce_logsumexp(others, 1) - target)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, 1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[:, None], tf.where(short, tf.zeros_like(norms), norms)


def with_slope(value: Tensor, slope: Tensor, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative with respect to `cosines` is `slope`, whatever made it."""
    return tf.stop_gradient(value) + tf.stop_gradient(slope) * (cosines - tf.stop_gradient(cosines))
