"""The seam inside every loss, in TensorFlow: target logit, negatives, reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import MIN_NORM, MIN_SINE, MarginLoss

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
        return {}, dict(state)

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        return cosines

    def reduce(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `logits` are scaled and hold no margin."""
        others = tf.where(_on_target(logits, labels), logits.dtype.min, logits)
        return tf.nn.softplus(tf.reduce_logsumexp(others, 1) - target)

    def penalty(self, norms: Tensor) -> Tensor:
        """Return what is added for embeddings of these norms [batch]; nothing for most."""
        return tf.zeros_like(norms)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    squares = tf.reduce_sum(vectors * vectors, 1)
    short = tf.sqrt(squares) <= MIN_NORM
    # The root's slope at 0 is infinite, and times 0 it is no number: short rows never reach it.
    norms = tf.sqrt(tf.where(short, tf.ones_like(squares), squares))
    inverse = tf.where(short, tf.zeros_like(norms), 1 / norms)
    return vectors * inverse[:, None], tf.where(short, tf.zeros_like(norms), norms)


def _on_target(logits: Tensor, labels: Tensor) -> Tensor:
    """Return where in `logits` [batch, classes] a sample's own class stands."""
    return tf.one_hot(labels, tf.shape(logits)[1], True, False, dtype=tf.bool)


def angle_and_sine(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Return theta, and sin(theta) that is never below MIN_SINE, of detached cosines."""
    c = tf.clip_by_value(tf.stop_gradient(cosines), -1, 1)
    return tf.acos(c), tf.maximum(tf.sqrt((1 - c) * (1 + c)), MIN_SINE)


def with_slope(value: Tensor, slope: Tensor, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative with respect to `cosines` is `slope`, whatever made it."""
    return _with_slope(cosines, tf.stop_gradient(value), tf.stop_gradient(slope))


@tf.custom_gradient
def _with_slope(
    cosines: Tensor,  # noqa: ARG001
    value: Tensor,
    slope: Tensor,
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, None, None]]]:
    return tf.identity(value), lambda gradient: (gradient * slope, None, None)


def softplus_sum(
    target: Tensor, logits: Tensor, labels: Tensor, positive: float, negative: float
) -> Tensor:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j) of each sample."""
    terms = tf.nn.softplus(logits)
    others = tf.where(_on_target(logits, labels), tf.zeros_like(terms), terms)
    return positive * tf.nn.softplus(-target) + negative * tf.reduce_sum(others, 1)
