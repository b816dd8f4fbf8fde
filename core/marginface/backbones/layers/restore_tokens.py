"""Token masking: fills the places of the tokens that were left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import TOKENS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class RestoreTokens(Layer):
    """In training: put tokens back in their places, and an array where `masked` left one out.

    Without masking (`masked` is "") the array is there, as published weights have it, and rests.
    """

    channels: int
    masked: str
    init_std: float

    takes = (TOKENS,)

    def parameters(self) -> dict[str, Parameter]:
        """Return the array [1, 1, channels], under the layer's own name."""
        trained, shape = bool(self.masked), (1, 1, self.channels)
        return {"": Parameter(shape, "normal", self.init_std, trainable=trained, decay=False)}

    @property
    def noise_of(self) -> str:
        """The masking layer, whose order of tokens this one needs."""
        return self.masked

    def forward(self, call: Call, x: Array) -> Array:
        """Fill each place."""
        if call.noise is None:
            return x
        tokens_left, token = x.shape[1], call.arrays[""][0, 0]
        y = np.empty((*call.noise.shape, self.channels), np.result_type(x, token))
        for i, order in enumerate(call.noise.argsort(1, kind="stable")):
            for rank, place in enumerate(order):
                y[i, place] = x[i, rank] if rank < tokens_left else token
        return y
