"""Subsampling."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Shape


@dataclass(frozen=True)
class Subsample(Layer):
    """Every `stride`-th pixel of every `stride`-th row; published code says MaxPool(1, stride)."""

    stride: int

    takes = (IMAGES,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return [channels, height, width], divided by the stride and rounded up."""
        channels, height, width = inputs[0]
        return channels, -(-height // self.stride), -(-width // self.stride)

    def forward(self, call: Call, x: Array) -> Array:
        """Leave the others out."""
        return x[:, :, :: self.stride, :: self.stride]
