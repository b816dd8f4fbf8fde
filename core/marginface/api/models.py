"""A model to embed images with, from a run or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.data.images import read_image
from marginface.embeddings.embed import embed_images
from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.errors import MarginfaceError
from marginface.model import Preprocessing

BATCH_SIZE = 64


class Model:
    """A trained model, as `load` returns it."""

    def __init__(self, path: Path, embedder: Embedder) -> None:
        self.path = path
        self._embedder = embedder

    @property
    def embedding_size(self) -> int:
        """Return the length of an embedding."""
        return self._embedder.embedding_size

    @property
    def preprocessing(self) -> Preprocessing:
        """Return what is done to images before the network."""
        return self._embedder.preprocessing

    def embed(
        self, images: Any, *, flip: bool = False, resize: bool = False
    ) -> NDArray[np.float32]:
        """Return the embeddings [N, embedding_size] of aligned face images, not normalised.

        Args:
            images: uint8 RGB [N, H, W, 3] or [H, W, 3], a path, a PIL image, or several of them.
            flip: sum the embeddings of an image and of its mirror image.
            resize: scale images and paths of another size instead of refusing them.

        Raises:
            MarginfaceError: an image cannot be read, or is of another size than the model takes.
        """
        several = images if isinstance(images, (list, tuple)) else [images]
        if isinstance(images, np.ndarray) and images.ndim == 4:
            several = list(images)
        size = self._embedder.image_size(resize=resize)
        parts = [np.zeros((0, self.embedding_size), np.float32)]
        for at in range(0, len(several), BATCH_SIZE):
            read = [_pixels(image, size, resize=resize) for image in several[at : at + BATCH_SIZE]]
            if len({image.shape for image in read}) > 1:
                raise MarginfaceError("images are of several sizes; give resize=True or align them")
            parts.append(embed_images(self._embedder, np.stack(read), flip=flip))
        return np.concatenate(parts)

    def __repr__(self) -> str:
        height, width = self._embedder.input_size
        return (
            f"Model({str(self.path)!r}: {height}x{width} to {self.embedding_size} numbers, "
            f"backend {self._embedder.backend})"
        )


def load(
    path: str | Path,
    *,
    backend: str = "onnx",
    threads: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: Sequence[int] | None = None,
    output_name: str | None = None,
) -> Model:
    """Return the model of a run folder or an ONNX file.

    Args:
        path: a run folder of `train`, or an ONNX file.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        threads: CPU threads; all for None.
        mean, std, channels, crop: override the model's own preprocessing.
        output_name: output of an ONNX file that is the embedding; by its shape for None.

    Raises:
        MarginfaceError: no such model, a damaged one, or options that do not fit it.
    """
    embedder = open_embedder(
        Path(path),
        backend=backend,
        threads=threads,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
    )
    return Model(Path(path), embedder)


def _pixels(image: Any, size: tuple[int, int] | None, *, resize: bool) -> NDArray[np.uint8]:
    if isinstance(image, (str, Path)):
        return read_image(image, size, resize=resize)
    if isinstance(image, Image.Image):
        image = image.convert("RGB")
        if resize and size is not None:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image, np.uint8)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
        return image
    found = type(image).__name__
    if isinstance(image, np.ndarray):
        found = f"{image.dtype} {image.shape}"
    raise MarginfaceError(
        f"images must be paths, PIL images or uint8 [N, height, width, 3], got {found}"
    )
