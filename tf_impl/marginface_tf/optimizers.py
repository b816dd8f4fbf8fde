"""The core's optimizers in TensorFlow, with slots under canonical names.

Keras' optimizers have other semantics: its SGD keeps the learning rate inside the velocity, its
AdamW puts epsilon elsewhere. So the updates stand here, as the core's reference states them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from tensorflow import Tensor

from marginface.optimizers import SGD, AdamW, Optimizer

NONE: Mapping[str, Any] = MappingProxyType({})


class Updater:
    """A spec's update of named variables.

    Attributes:
        slots: a variable for `<slot>.<parameter>`, zeros at first.
    """

    def __init__(
        self,
        spec: Optimizer,
        parameters: Mapping[str, Any],
        undecayed: Container[str],
        factors: Mapping[str, float],
        first_steps: Mapping[str, int],
    ) -> None:
        self.spec, self.undecayed = spec, undecayed
        self.factors, self.first_steps = factors, first_steps
        self.parameters = parameters
        self.slots = {
            f"{slot}.{name}": tf.Variable(tf.zeros_like(parameter.value), trainable=False)
            for name, parameter in parameters.items()
            for slot in spec.slots
        }

    def apply(self, gradients: Mapping[str, Tensor], rate: Tensor, step: Tensor) -> None:
        """Take step number `step` (from 1), an int64 scalar; gradients by parameter name."""
        for name, gradient in gradients.items():
            weight = self.parameters[name]
            slots = [self.slots[f"{slot}.{name}"] for slot in self.spec.slots]
            decay = self.spec.decay_for(decay=name not in self.undecayed)
            own_rate = rate * self.factors.get(name, 1.0)
            if isinstance(self.spec, AdamW):
                taken = step - self.first_steps.get(name, 0)
                _adamw(self.spec, weight, gradient, slots, own_rate, taken, decay)
            elif isinstance(self.spec, SGD):
                velocity = slots[0].assign(
                    self.spec.momentum * slots[0] + gradient + decay * weight.value
                )
                weight.assign_sub(own_rate * velocity)


def _adamw(
    spec: AdamW,
    weight: Any,
    gradient: Tensor,
    slots: list[Any],
    rate: Tensor,
    step: Tensor,
    decay: float,
) -> None:
    first = slots[0].assign(spec.beta1 * slots[0] + (1 - spec.beta1) * gradient)
    second = slots[1].assign(spec.beta2 * slots[1] + (1 - spec.beta2) * gradient**2)
    # In float64: 1 - 0.999 would lose four digits in float32.
    count = tf.cast(step, tf.float64)
    correct1 = tf.cast(1 - spec.beta1**count, gradient.dtype)
    correct2 = tf.cast(1 - spec.beta2**count, gradient.dtype)
    corrected = tf.sqrt(second / correct2) + spec.epsilon
    weight.assign(weight.value * (1 - rate * decay) - rate * (first / correct1) / corrected)


def create_optimizer(
    spec: Optimizer,
    parameters: Mapping[str, Any],
    undecayed: Container[str],
    *,
    factors: Mapping[str, float] = NONE,
    first_steps: Mapping[str, int] = NONE,
) -> Updater:
    """Return the update with the spec's hyperparameters, its slots zero.

    Args:
        spec: SGD or AdamW.
        parameters: what it moves, by name.
        undecayed: the names that `decay_norm_and_bias` is about.
        factors: on the learning rate, where it is not 1.
        first_steps: the step, from 0, that moves a parameter first, where it is not 0.
    """
    if not isinstance(spec, SGD | AdamW):
        raise TypeError(f"no TensorFlow optimizer for {spec!r}")
    return Updater(spec, parameters, undecayed, factors, first_steps)


def clip_scale(gradients: Iterable[Tensor], clip_norm: float | None) -> tuple[list[Tensor], Tensor]:
    """Return gradients scaled to a global norm of at most `clip_norm`, and the norm before."""
    unscaled = list(gradients)
    if not unscaled:  # nothing of the backbone learns
        return unscaled, tf.constant(0.0)
    norm = tf.linalg.global_norm(unscaled)
    if clip_norm is None:
        return unscaled, norm
    factor = tf.minimum(clip_norm / (norm + 1e-6), 1)
    return [gradient * factor for gradient in unscaled], norm


def read_slots(
    optimizer: Updater, parameters: Mapping[str, Any], spec: Optimizer
) -> dict[str, Any]:
    """Return `<slot>.<parameter>` for every slot; zeros before the first step."""
    names = [f"{slot}.{name}" for name in parameters for slot in spec.slots]
    return {name: optimizer.slots[name] for name in names}
