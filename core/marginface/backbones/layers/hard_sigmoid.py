"""Hard sigmoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class HardSigmoid(Layer):
    """min(max(0.2 x + 0.5, 0), 1): that of Keras 2 and ONNX.

    PyTorch's and Keras 3's rise by x / 6 instead.
    """

    def forward(self, call: Call, x: Array) -> Array:
        """Rise straight from 0 to 1."""
        y: Array = np.minimum(np.maximum(0.2 * x + 0.5, 0), 1)
        return y
