"""PReLU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marginface.backbones.layers.base import IMAGES, VECTORS, Array, Call, Layer, Parameter


@dataclass(frozen=True)
class PReLU(Layer):
    """max(x, 0) + weight * min(x, 0), one slope a channel."""

    channels: int

    takes = (IMAGES, VECTORS)

    def parameters(self) -> dict[str, Parameter]:
        """Return the slopes, 0.25 at the start."""
        return {"weight": Parameter((self.channels,), "constant", 0.25, decay=False)}

    def forward(self, call: Call, x: Array) -> Array:
        """Bend each channel at zero."""
        slopes = call.arrays["weight"].reshape(-1, *[1] * (x.ndim - 2))
        y: Array = np.maximum(x, 0) + slopes * np.minimum(x, 0)
        return y
