"""Flattening."""

from __future__ import annotations

import math
from dataclasses import dataclass

from marginface.backbones.layers.base import IMAGES, TOKENS, Array, Call, Layer, Shape


@dataclass(frozen=True)
class Flatten(Layer):
    """[N, C, H, W] to [N, C * H * W], channels slowest; tokens [N, L, C] to [N, L * C]."""

    takes = (IMAGES, TOKENS)
    takes_masked = False

    def shape(self, *inputs: Shape) -> Shape:
        """Return one axis of all values."""
        return (math.prod(inputs[0]),)

    def forward(self, call: Call, x: Array) -> Array:
        """Reshape."""
        return x.reshape(len(x), -1)
