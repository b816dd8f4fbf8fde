"""The seam inside every loss, in TensorFlow: target logit, negatives, reduction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import MIN_SINE, MarginLoss, Memory, Sample

ACOS = (  # of acos(x) / sqrt(1 - x), the highest power first
    *(-0.0012624911, 0.0066700901, -0.0170881256, 0.0308918810),
    *(-0.0501743046, 0.0889789874, -0.2145988016, 1.5707963050),
)

Spec = TypeVar("Spec", bound=MarginLoss)
Tensors = Mapping[str, Tensor]


class LossOps(Generic[Spec]):
    """What a loss computes, on tensors; the spec holds every hyperparameter."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prepare `target`'s and `negatives`' values [batch]; return them and the next state.

        The head detaches `cosines` and `norms`: what comes of them is a constant to the gradient.
        """
        return {}, dict(state)

    def radius(self, state: Tensors) -> Tensor | float:
        """Return what logits are multiplied by; the spec's scale for most."""
        return self.spec.scale

    def finish(self, cosines: Tensor, others: Tensor, state: Tensors) -> dict[str, Tensor]:
        """Return the state after a pass, from target cosines and logsumexps [batch]."""
        return dict(state)

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        return cosines

    def tally(self, cosines: Tensor, prepared: Tensors) -> dict[str, Tensor]:
        """Return what each cosine [batch, classes] adds to the spec's `tallies`; none for most.

        The sums over all negatives are among what `target` gets as `prepared`.
        """
        return {}

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `others` is n, or what the spec `adds`."""
        return tf.nn.softplus(others - target)

    def remember(self, rows: Tensors, samples: Sample, state: Tensors) -> dict[str, Tensor]:
        """Return the rows of `class_state` [batch, ...] that samples leave to their classes."""
        return dict(rows)

    def recall(self, rows: Tensors, state: Tensors) -> Memory | None:
        """Return how much of which vector is in the direction of these classes, or None."""
        return None

    def penalty(self, norms: Tensor) -> Tensor:
        """Return the penalty on embeddings' norms [batch]; 0 for most."""
        return tf.zeros_like(norms)


def angle(cosines: Tensor) -> Tensor:
    """Return theta of cosines, detached."""
    return tf.acos(tf.clip_by_value(tf.stop_gradient(cosines), -1, 1))


def angles_to_all(cosines: Tensor) -> Tensor:
    """Return theta of many cosines, detached; in float32 by a polynomial.

    XLA's arccosine takes 20 ns a number on a CPU, about half of what a whole step takes for it. The
    polynomial is that of Abramowitz and Stegun, 4.4.46, within 2e-8.
    """
    c = tf.clip_by_value(tf.stop_gradient(cosines), -1, 1)
    if c.dtype != tf.float32:
        return tf.acos(c)
    x, series = tf.abs(c), tf.zeros_like(c)
    for coefficient in ACOS:
        series = series * x + coefficient
    theta = tf.sqrt(1 - x) * series
    return tf.where(c < 0, math.pi - theta, theta)


def inverse_sine(cosines: Tensor) -> Tensor:
    """Return 1 / sin(theta) of cosines, detached; sin(theta) counts as MIN_SINE at least."""
    c = tf.clip_by_value(tf.stop_gradient(cosines), -1, 1)
    return tf.math.rsqrt(tf.maximum((1 - c) * (1 + c), MIN_SINE**2))


def with_slope(value: Tensor, slope: Tensor | None, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative to `cosines` is `slope`, 1 for None, whatever made it."""

    @tf.custom_gradient
    def attached(cosines: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # noqa: ARG001
        return tf.stop_gradient(value), lambda g: g if slope is None else g * slope

    return attached(cosines)
