"""Convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Parameter, Shape, Start
from marginface.backbones.layers.layout import Layout
from marginface.checks import check_count, check_size
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution; weight [out, in / groups, kernel height, kernel width].

    Pixels at the end that no stride reaches are unused. Padding "same" is TensorFlow's: as many
    zeros as ceil(size / stride) pixels need, half of them before, what is odd behind.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    padding: int | Literal["same"]
    groups: int
    bias: bool
    init_std: float | None = None  # None: He's fan-out rule; with a bias as PyTorch starts both
    init_bound: float | None = None  # the weight is uniform within it instead
    truncated: bool = False  # the normal distribution is cut off at two deviations

    takes = (IMAGES,)

    def check(self) -> None:
        """Raise unless the numbers make sense, and the groups are even."""
        super().check()
        if self.padding != "same":
            check_count(f"padding of '{self.name}'", self.padding, least=0)
        for side in check_size(f"kernel of '{self.name}'", self.kernel):
            check_count(f"kernel of '{self.name}'", side)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise MarginfaceError(
                f"'{self.name}' cannot share {self.in_channels} channels, nor {self.out_channels} "
                f"behind it, among {self.groups} groups; both must be multiples of groups"
            )

    def parameters(self) -> dict[str, Parameter]:
        """Return the weight and, with `bias`, the bias: zeros where `init_std` is given."""
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        if self.init_bound is not None:
            parameters = {"weight": Parameter(shape, "uniform", self.init_bound)}
        elif self.init_std is None and self.bias:
            parameters = {"weight": Parameter(shape, "uniform", bound)}
        elif self.init_std is None:
            he = math.sqrt(2 / (self.out_channels * math.prod(self.kernel)))
            parameters = {"weight": Parameter(shape, "normal", he)}
        else:
            normal: Start = "truncated" if self.truncated else "normal"
            parameters = {"weight": Parameter(shape, normal, self.init_std)}
        if self.bias and self.init_std is None:
            parameters["bias"] = Parameter((self.out_channels,), "uniform", bound, decay=False)
        elif self.bias:
            parameters["bias"] = Parameter((self.out_channels,), "constant", 0, decay=False)
        return parameters

    def pads(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the zeros before and behind images of a size, in height and in width."""
        first, second = (
            self._pads(*sides) for sides in zip((height, width), self.kernel, strict=True)
        )
        return first, second

    def _pads(self, size: int, kernel: int) -> tuple[int, int]:
        if self.padding != "same":
            return self.padding, self.padding
        total = max((-(-size // self.stride) - 1) * self.stride + kernel - size, 0)
        return total // 2, total - total // 2

    @property
    def depthwise(self) -> bool:
        """Whether each output channel sees one input channel of its own."""
        return self.groups == self.in_channels == self.out_channels

    def channels_last(self) -> dict[str, Layout]:
        """Return the weight's: [height, width, in, out], depthwise [height, width, out, 1]."""
        order = (2, 3, 0, 1) if self.depthwise else (2, 3, 1, 0)
        return {"weight": Layout.permuted(self.parameters()["weight"].shape, order)}

    def shape(self, *inputs: Shape) -> Shape:
        """Return [channels, height, width]; raise where no pixel would be left."""
        sides = inputs[0][1], inputs[0][2]
        height, width = (
            (size + sum(pads) - kernel) // self.stride + 1
            for size, kernel, pads in zip(sides, self.kernel, self.pads(*sides), strict=True)
        )
        if min(height, width) < 1:
            raise MarginfaceError(f"'{self.name}' would be left with no pixels")
        return self.out_channels, height, width

    def forward(self, call: Call, x: Array) -> Array:
        """Multiply each patch by the weights, group by group."""
        weight, s = call.arrays["weight"], self.stride
        channels, rows, columns = self.shape(x.shape[1:])
        padded = np.pad(x, [(0, 0), (0, 0), *self.pads(*x.shape[2:])])
        outs, ins = channels // self.groups, self.in_channels // self.groups
        y = np.zeros((len(x), channels, rows, columns), np.result_type(x, weight))
        for group in range(self.groups):
            to = slice(group * outs, (group + 1) * outs)
            of = slice(group * ins, (group + 1) * ins)
            for i in range(rows):
                for j in range(columns):
                    height = slice(i * s, i * s + self.kernel[0])
                    width = slice(j * s, j * s + self.kernel[1])
                    patch = padded[:, of, height, width]
                    y[:, to, i, j] = np.einsum("nchw,ochw->no", patch, weight[to])
        return y + call.arrays["bias"][:, None, None] if self.bias else y
