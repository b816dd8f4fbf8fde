"""Layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the channels of each token."""

    channels: int
    epsilon: float

    takes = (TOKENS,)

    def parameters(self) -> dict[str, Parameter]:
        """Return scale and offset."""
        return {
            "weight": Parameter((self.channels,), "constant", 1, decay=False),
            "bias": Parameter((self.channels,), "constant", 0, decay=False),
        }

    def forward(self, call: Call, x: Array) -> Array:
        """Normalise each token."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        unit: Array = centred / np.sqrt(variance + self.epsilon)
        return unit * call.arrays["weight"] + call.arrays["bias"]
