"""Sum of two branches."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import Array, Call, Layer


@dataclass(frozen=True)
class Add(Layer):
    """x + y, which have one shape."""

    def forward(self, call: Call, x: Array, y: Array) -> Array:
        """Add."""
        return x + y
