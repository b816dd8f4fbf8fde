"""Batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import IMAGES, VECTORS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, for each channel.

    In training mean and variance are the batch's, and move the running ones:
    running = (1 - momentum) running + momentum batch, with the unbiased variance (PyTorch's way).
    Without `affine` there is no weight and no bias.
    """

    channels: int
    trainable_scale: bool
    epsilon: float
    momentum: float = 0.1
    affine: bool = True

    takes = (IMAGES, VECTORS)

    def parameters(self) -> dict[str, Parameter]:
        """Return scale and offset, if there are any, and the two running statistics."""
        shape, trained = (self.channels,), self.trainable_scale
        affine = {
            "weight": Parameter(shape, "constant", 1, trainable=trained, decay=False),
            "bias": Parameter(shape, "constant", 0, decay=False),
        }
        return (affine if self.affine else {}) | {
            "running_mean": Parameter(shape, "constant", 0, trainable=False, decay=False),
            "running_var": Parameter(shape, "constant", 1, trainable=False, decay=False),
        }

    def forward(self, call: Call, x: Array) -> Array:
        """Normalise each channel by the batch's or the running statistics."""
        across = (-1, *[1] * (x.ndim - 2))
        mean, variance = call.arrays["running_mean"], call.arrays["running_var"]
        if call.training:
            mean, variance = _statistics(x)
        unit: Array = (x - mean.reshape(across)) / np.sqrt(variance.reshape(across) + self.epsilon)
        if not self.affine:
            return unit
        scale, offset = call.arrays["weight"], call.arrays["bias"]
        return unit * scale.reshape(across) + offset.reshape(across)

    def moved(self, call: Call, x: Array) -> dict[str, Array]:
        """Return the running statistics after a batch in training."""
        mean, variance = _statistics(x)
        count = x.size // self.channels
        batch = {"running_mean": mean, "running_var": variance * count / max(count - 1, 1)}
        return {
            name: (1 - self.momentum) * call.arrays[name] + self.momentum * value
            for name, value in batch.items()
        }


def _statistics(x: Array) -> tuple[Array, Array]:
    """Return mean and biased variance of each channel."""
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axes, keepdims=True)
    return mean.reshape(-1), ((x - mean) ** 2).mean(axes)
