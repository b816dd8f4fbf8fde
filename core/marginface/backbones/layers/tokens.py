"""The change from images to rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Shape


@dataclass(frozen=True)
class Tokens(Layer):
    """[N, C, H, W] to [N, H * W, C]: each pixel is a token, row by row."""

    takes = (IMAGES,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return [tokens, channels]."""
        channels, height, width = inputs[0]
        return height * width, channels

    def forward(self, call: Call, x: Array) -> Array:
        """Reshape, channels to the end."""
        return x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)
