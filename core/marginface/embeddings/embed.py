"""Embed images, alone or together with their mirror images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def embed_images(embed: Embed, images: NDArray[np.uint8], *, flip: bool) -> NDArray[np.float32]:
    """Return embeddings [batch, size], each the sum of an image's and its mirror's if `flip`."""
    if not flip:
        return embed(images)
    return embed(images) + embed(mirrored(images))


def mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mirror images of images [batch, height, width, channels]."""
    return np.ascontiguousarray(images[:, :, ::-1])


class NormRange:
    """Wraps a model and records the norms of its shortest and longest embedding.

    With `flip`, those are of its own embeddings: the norm of a sum of two unit vectors says how
    alike they are, not how good the image is.
    """

    def __init__(self, embed: Embed) -> None:
        self.embed = embed
        self.shortest, self.longest = np.inf, 0.0

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the model's embeddings [batch, size]."""
        embeddings = self.embed(images)
        norms = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        self.shortest = float(np.min(norms, initial=self.shortest))
        self.longest = float(np.max(norms, initial=self.longest))
        return embeddings

    @property
    def norms(self) -> tuple[float, float]:
        """Return the norms of the shortest and the longest embedding so far."""
        return self.shortest, self.longest
