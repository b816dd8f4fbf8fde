"""One step of rows of class weights or bias; the core's `Optimizer.update` is the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import COUNT
from marginface.optimizers import SGD, AdamW, Optimizer


def step_rows(
    spec: Optimizer,
    value: Tensor,
    slots: Mapping[str, Tensor],
    gradient: Tensor,
    rate: Tensor,
    decay: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return rows and what an optimizer carries for them after a step.

    Args:
        spec: SGD or AdamW.
        value: the rows.
        slots: those of `update_slots`, of these rows.
        gradient: of the rows.
        rate: the learning rate.
        decay: the weight decay.
    """
    match spec:
        case SGD():
            velocity = spec.momentum * slots["momentum"] + gradient + decay * value
            return value - rate * velocity, {"momentum": velocity}
        case AdamW():
            count = slots[COUNT] + 1
            first = spec.beta1 * slots["first"] + (1 - spec.beta1) * gradient
            second = spec.beta2 * slots["second"] + (1 - spec.beta2) * gradient**2
            corrected = tf.sqrt(second / _correction(spec.beta2, count, gradient)) + spec.epsilon
            corrected *= _correction(spec.beta1, count, gradient)
            value = value * (1 - rate * decay) - rate * first / corrected
            return value, {"first": first, "second": second, COUNT: count}
        case _:
            raise TypeError(f"no step of rows for {spec!r}")


def _correction(beta: float, count: Tensor, like: Tensor) -> Tensor:
    """Return 1 - beta^count, a number a row; written so, no digit is lost where beta is near 1."""
    powers = tf.cast(count, like.dtype) * (math.log(beta) if beta else -math.inf)
    return tf.reshape(-tf.math.expm1(powers), [-1, *[1] * (like.shape.rank - 1)])
