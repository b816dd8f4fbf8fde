"""Some of the channels."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.backbones.layers.base import IMAGES, Array, Call, Layer, Shape
from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Channels(Layer):
    """The channels of images from `start` on, `count` of them."""

    start: int
    count: int

    takes = (IMAGES,)

    @property
    def end(self) -> int:
        """The first channel that is left out again."""
        return self.start + self.count

    def shape(self, *inputs: Shape) -> Shape:
        """Return [count, height, width]; raise where there are not that many channels."""
        channels, height, width = inputs[0]
        if not 0 <= self.start < self.end <= channels:
            raise MarginfaceError(
                f"'{self.name}' cannot take {self.count} channels from {self.start} on: there are "
                f"{channels}"
            )
        return self.count, height, width

    def forward(self, call: Call, x: Array) -> Array:
        """Leave the others out."""
        return x[:, self.start : self.end]
