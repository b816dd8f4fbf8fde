"""Branches side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Shape


@dataclass(frozen=True)
class Concat(Layer):
    """The channels of several images of one size, one after the other."""

    takes = (IMAGES,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return [channels of all, height, width]."""
        return sum(shape[0] for shape in inputs), *inputs[0][1:]

    def forward(self, call: Call, *inputs: Array) -> Array:
        """Concatenate."""
        return np.concatenate(inputs, 1)
