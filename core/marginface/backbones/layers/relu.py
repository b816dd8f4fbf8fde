"""ReLU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, call: Call, x: Array) -> Array:
        """Cut each value off at zero."""
        y: Array = np.maximum(x, 0)
        return y
