"""Multi-head self-attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter, Shape
from marginface.backbones.layers.layout import Layout
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Attention(Layer):
    """softmax(q k^T / sqrt(channels / heads)) v in each head, then a linear layer.

    One linear layer without bias gives q, k and v of all heads. One node, so that each framework
    may use its fused kernel; at least in float32, whatever the type around it.
    """

    channels: int
    heads: int
    init_std: float

    takes = (TOKENS,)

    def check(self) -> None:
        """Raise unless the numbers make sense, and the heads are even."""
        super().check()
        if self.channels % self.heads:
            raise MarginfaceError(
                f"'{self.name}' cannot share {self.channels} channels among {self.heads} heads"
            )

    def parameters(self) -> dict[str, Parameter]:
        """Return the weights of both linear layers, and the bias of the second."""
        c = self.channels
        return {
            "qkv.weight": Parameter((3 * c, c), "normal", self.init_std),
            "proj.weight": Parameter((c, c), "normal", self.init_std),
            "proj.bias": Parameter((c,), "constant", 0, decay=False),
        }

    def channels_last(self) -> dict[str, Layout]:
        """Return the weights' layouts, [in, out]."""
        return {
            name: Layout.permuted(parameter.shape, (1, 0))
            for name, parameter in self.parameters().items()
            if name.endswith("weight")
        }

    def multiply_adds(self, output: Shape) -> int:
        """Return those by the weights, of queries with keys, and of values with shares."""
        tokens, channels = output
        return super().multiply_adds(output) + 2 * tokens**2 * channels

    def forward(self, call: Call, x: Array) -> Array:
        """Let each token look at all, head by head."""
        q, k, v = np.split(x @ call.arrays["qkv.weight"].T, 3, axis=-1)
        width, outputs = self.channels // self.heads, []
        for head in range(self.heads):
            channels = slice(head * width, (head + 1) * width)
            products = q[..., channels] @ k[..., channels].transpose(0, 2, 1) / math.sqrt(width)
            powers = np.exp(products - products.real.max(-1, keepdims=True))
            outputs.append(powers / powers.sum(-1, keepdims=True) @ v[..., channels])
        return np.concatenate(outputs, -1) @ call.arrays["proj.weight"].T + call.arrays["proj.bias"]
