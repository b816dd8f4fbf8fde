"""Layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import Array, Call, Layer, Parameter


@dataclass(frozen=True)
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the channels.

    Of each pixel of images, of each token, or of a vector.
    """

    channels: int
    epsilon: float

    def parameters(self) -> dict[str, Parameter]:
        """Return scale and offset."""
        return {
            "weight": Parameter((self.channels,), "constant", 1, decay=False),
            "bias": Parameter((self.channels,), "constant", 0, decay=False),
        }

    def forward(self, call: Call, x: Array) -> Array:
        """Normalise along the channels, which images have in front."""
        axis = 1 if x.ndim == 4 else -1
        x = np.moveaxis(x, axis, -1)
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        unit = centred / np.sqrt(variance + self.epsilon)
        y = unit * call.arrays["weight"] + call.arrays["bias"]
        return np.moveaxis(y, -1, axis)
