"""ReLU6."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class ReLU6(Layer):
    """min(max(x, 0), 6)."""

    def forward(self, call: Call, x: Array) -> Array:
        """Cut each value off."""
        y: Array = np.minimum(np.maximum(x, 0), 6)
        return y
