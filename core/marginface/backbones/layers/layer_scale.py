"""Layer scale."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class LayerScale(Layer):
    """x * array: one learned factor for each channel of tokens, under the layer's own name."""

    channels: int
    init_scale: float

    takes = (TOKENS,)

    def parameters(self) -> dict[str, Parameter]:
        """Return the factors."""
        return {"": Parameter((self.channels,), "constant", self.init_scale, decay=False)}

    def forward(self, call: Call, x: Array) -> Array:
        """Multiply."""
        return x * call.arrays[""]
