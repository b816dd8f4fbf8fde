"""Position arrays from sines and cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Parameter
from marginface.backbones.layers.layout import Layout

HALF = 32  # sines and cosines of each of row and column
LONGEST = 10000.0  # the longest wave is as many times as long as the shortest
EPSILON = 1e-6
WEIGHT, BIAS = "token_projection.weight", "token_projection.bias"


@dataclass(frozen=True)
class FourierPosition(Layer):
    """x + (W waves + b): sines and cosines of row and column, mixed by a learned 1x1 convolution.

    Rows y = 1 ... height count as y / (height + 1e-6) turns, columns alike; wave 2i is the sine and
    2i + 1 the cosine of 2 pi turns / 10000^(2i / 32). The 32 waves of the row come first.
    Source: 2206.10589, with the numbers of its code.
    """

    channels: int
    height: int
    width: int
    init_std: float

    takes = (IMAGES,)

    def parameters(self) -> dict[str, Parameter]:
        """Return weight and bias of the convolution."""
        return {
            WEIGHT: Parameter((self.channels, 2 * HALF, 1, 1), "truncated", self.init_std),
            BIAS: Parameter((self.channels,), "constant", 0, decay=False),
        }

    def channels_last(self) -> dict[str, Layout]:
        """Return the weight's layout, [waves, channels]."""
        shape = self.channels, 2 * HALF
        return {WEIGHT: Layout((*shape, 1, 1), shape, (1, 0), shape[::-1])}

    def waves(self) -> Array:
        """Return the waves [64, height, width], the same for every image."""
        i = np.arange(HALF)
        lengths = LONGEST ** (i // 2 * 2 / HALF)

        def along(size: int) -> Array:
            turns = np.arange(1, size + 1) / (size + EPSILON)
            angles = 2 * math.pi * turns / lengths[:, None]
            return np.where(i[:, None] % 2, np.cos(angles), np.sin(angles))  # [32, size]

        rows, columns = along(self.height)[:, :, None], along(self.width)[:, None, :]
        size = (HALF, self.height, self.width)
        return np.concatenate([np.broadcast_to(rows, size), np.broadcast_to(columns, size)])

    def forward(self, call: Call, x: Array) -> Array:
        """Add the mixed waves."""
        weight, bias = call.arrays[WEIGHT], call.arrays[BIAS]
        mixed = np.einsum("cw,wij->cij", weight[:, :, 0, 0], self.waves())
        y: Array = x + mixed + bias[:, None, None]
        return y
