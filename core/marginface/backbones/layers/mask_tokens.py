"""Token masking: leaves out some tokens in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Shape
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class MaskTokens(Layer):
    """In training: leave int(tokens * (1 - rate)) of each sample's tokens, those of least noise."""

    tokens: int
    rate: float

    takes = (TOKENS,)
    takes_masked = False

    @property
    def left(self) -> int:
        """The number of tokens that are left."""
        return int(self.tokens * (1 - self.rate))

    @property
    def noise(self) -> Shape:
        """One number for each token."""
        return (self.tokens,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's; raise where no token would be left in training."""
        if self.left < 1:
            raise MarginfaceError(f"'{self.name}' would leave none of {self.tokens} tokens")
        return inputs[0]

    def forward(self, call: Call, x: Array) -> Array:
        """Take the first tokens in the order of their noise."""
        if call.noise is None:
            return x
        orders = call.noise.argsort(1, kind="stable")
        return np.stack([x[i, order[: self.left]] for i, order in enumerate(orders)])
