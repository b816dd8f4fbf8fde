"""Cross-covariance attention (XCA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter, Shape
from marginface.errors import MarginfaceError

LEAST_NORM = 1e-12  # of a channel of q or k, whose direction would be none


@dataclass(frozen=True)
class CrossCovariance(Layer):
    """softmax(temperature q k^T) v in each head, over channels: q, k and v are [channels, tokens].

    Tokens come as [tokens, q of all heads, k of all heads, v of all heads]. Each channel of q and k
    is divided by its length over all tokens. `temperature` is learned, one for each head, under the
    layer's own name. One node, so that each framework may compute it as is best; at least in
    float32, whatever the type around it. Source: 2106.09681, equation 2.
    """

    width: int  # of a token: 3 * channels
    heads: int

    takes = (TOKENS,)
    takes_masked = False

    def check(self) -> None:
        """Raise unless the numbers make sense, and the heads are even."""
        super().check()
        if self.width % (3 * self.heads):
            raise MarginfaceError(
                f"'{self.name}' cannot share {self.width} channels among q, k and v of "
                f"{self.heads} heads"
            )

    @property
    def channels(self) -> int:
        """The number of channels that come out."""
        return self.width // 3

    def parameters(self) -> dict[str, Parameter]:
        """Return the temperatures [heads, 1, 1], 1 at the start."""
        return {"": Parameter((self.heads, 1, 1), "constant", 1, decay=False)}

    def shape(self, *inputs: Shape) -> Shape:
        """Return [tokens, channels]."""
        return inputs[0][0], self.channels

    def multiply_adds(self, output: Shape) -> int:
        """Return those of queries with keys, and of values with shares."""
        tokens, channels = output
        return 2 * tokens * channels**2 // self.heads

    def forward(self, call: Call, x: Array) -> Array:
        """Let each channel look at all of its head, head by head."""
        q, k, v = np.split(x.transpose(0, 2, 1), 3, axis=1)
        width, outputs = self.channels // self.heads, []
        for head in range(self.heads):
            own = slice(head * width, (head + 1) * width)
            cosines = _unit(q[:, own]) @ _unit(k[:, own]).transpose(0, 2, 1)
            products = cosines * call.arrays[""][head]
            powers = np.exp(products - products.real.max(-1, keepdims=True))
            outputs.append(powers / powers.sum(-1, keepdims=True) @ v[:, own])
        return np.concatenate(outputs, 1).transpose(0, 2, 1)


def _unit(x: Array) -> Array:
    """Return each row divided by its length."""
    lengths = np.sqrt((x**2).sum(-1, keepdims=True))
    unit: Array = x / np.maximum(lengths, LEAST_NORM)
    return unit
