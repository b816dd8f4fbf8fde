"""The change from rows of tokens to images."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Shape
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Images(Layer):
    """[N, H * W, C] to [N, C, H, W]: each token is a pixel, row by row."""

    height: int
    width: int

    takes = (TOKENS,)
    takes_masked = False

    def shape(self, *inputs: Shape) -> Shape:
        """Return [channels, height, width]; raise where the tokens are not that many."""
        tokens, channels = inputs[0]
        if tokens != self.height * self.width:
            raise MarginfaceError(
                f"'{self.name}' cannot lay {tokens} tokens out as {self.height}x{self.width} pixels"
            )
        return channels, self.height, self.width

    def forward(self, call: Call, x: Array) -> Array:
        """Channels to the front, reshape."""
        return x.transpose(0, 2, 1).reshape(len(x), -1, self.height, self.width)
