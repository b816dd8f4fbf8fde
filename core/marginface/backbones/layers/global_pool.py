"""Global average pooling."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Shape


@dataclass(frozen=True)
class GlobalPool(Layer):
    """Mean of each channel over all pixels: [N, C, H, W] to [N, C, 1, 1]."""

    takes = (IMAGES,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return [channels, 1, 1]."""
        return inputs[0][0], 1, 1

    def forward(self, call: Call, x: Array) -> Array:
        """Take the mean."""
        y: Array = x.mean((2, 3), keepdims=True)
        return y
