"""Product of two branches."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class Multiply(Layer):
    """x * y, which have one shape, or y is one factor for each channel of images, [C, 1, 1]."""

    def forward(self, call: Call, x: Array, y: Array) -> Array:
        """Multiply."""
        return x * y
