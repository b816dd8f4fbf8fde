"""Sigmoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, call: Call, x: Array) -> Array:
        """Bring each value between 0 and 1."""
        y: Array = 1 / (1 + np.exp(-x))
        return y
