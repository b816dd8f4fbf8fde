"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import Array, Call, Layer, Shape, kept


@dataclass(frozen=True)
class Dropout(Layer):
    """In training: zero a share `rate` of the values, divide the rest by 1 - rate.

    `before` is the shape of its input, or the one that it had before it was flattened: the noise
    lies in that order, whatever a framework's flattening is.
    """

    rate: float
    before: Shape

    takes_masked = False

    @property
    def noise(self) -> Shape:
        """One number for each value."""
        return self.before

    def forward(self, call: Call, x: Array) -> Array:
        """Multiply by 0 or 1 / (1 - rate)."""
        if call.noise is None:
            return x
        return x * kept(call.noise, self.rate).reshape(x.shape) / (1 - self.rate)
