"""Position arrays."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class Position(Layer):
    """x + array: one vector for each place of a token, under the layer's own name."""

    tokens: int
    channels: int
    init_std: float

    takes = (TOKENS,)
    takes_masked = False

    def parameters(self) -> dict[str, Parameter]:
        """Return the array [1, tokens, channels]."""
        shape = (1, self.tokens, self.channels)
        return {"": Parameter(shape, "normal", self.init_std, decay=False)}

    def forward(self, call: Call, x: Array) -> Array:
        """Add."""
        return x + call.arrays[""]
