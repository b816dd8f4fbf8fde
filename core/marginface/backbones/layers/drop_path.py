"""Drop path (stochastic depth)."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import Array, Call, Layer, Shape, kept


@dataclass(frozen=True)
class DropPath(Layer):
    """In training: zero a branch for a share `rate` of the samples, divide others by 1 - rate."""

    rate: float

    @property
    def noise(self) -> Shape:
        """One number for each sample."""
        return ()

    def forward(self, call: Call, x: Array) -> Array:
        """Multiply each sample by 0 or 1 / (1 - rate)."""
        if call.noise is None:
            return x
        factors = kept(call.noise, self.rate) / (1 - self.rate)
        return x * factors.reshape(-1, *[1] * (x.ndim - 1))
