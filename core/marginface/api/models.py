"""A model to embed images with, from a run or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from marginface.calling import public
from marginface.cards.hub import fetched
from marginface.checks import as_path
from marginface.data.images import read_image
from marginface.data.resizing import resized
from marginface.embeddings.embed import embed_images
from marginface.embeddings.embedder import Embedder, open_embedder
from marginface.errors import MarginfaceError
from marginface.model import Preprocessing, Resize

BATCH_SIZE = 64


class Model:
    """A trained model, as `load` returns it.

    Args:
        path: the run folder or file.
        embedder: the function of images.
    """

    def __init__(self, path: Path, embedder: Embedder) -> None:
        self.path = path
        self.embedder = embedder

    @property
    def embedding_size(self) -> int:
        """Return the length of an embedding."""
        return self.embedder.embedding_size

    @property
    def preprocessing(self) -> Preprocessing:
        """Return what is done to images before the network."""
        return self.embedder.preprocessing

    @public
    def embed(
        self, images: Any, *, flip: bool = False, resize: Resize = False
    ) -> NDArray[np.float32]:
        """Return the embeddings [N, embedding_size] of aligned face images, not normalised.

        Args:
            images: uint8 RGB [N, H, W, 3] or [H, W, 3], an array or a tensor, a path, a PIL image,
                or several of these in a list or from a generator.
            flip: sum the embeddings of an image and of its mirror image.
            resize: scale images of another size instead of refusing them: True as in training,
                else "fit", "letterbox" or "squeeze".

        Raises:
            MarginfaceError: an image cannot be read, or is of another size than the model takes.
        """
        self.embedder.check_flip(flip)
        size, resize = self.embedder.image_size(resize=resize), self.embedder.resizing(resize)
        parts = [np.zeros((0, self.embedding_size), np.float32)]
        batch: list[NDArray[np.uint8]] = []

        def embed_batch() -> None:
            parts.append(embed_images(self.embedder, np.stack(batch), flip=flip))
            batch.clear()

        for image in _each(images):
            pixels = _pixels(image, size, resize=resize)
            if batch and (len(batch) == BATCH_SIZE or pixels.shape != batch[0].shape):
                embed_batch()
            batch.append(pixels)
        if batch:
            embed_batch()
        return np.concatenate(parts)

    def __repr__(self) -> str:
        height, width = self.embedder.input_size
        return (
            f"Model({str(self.path)!r}: {height}x{width} to {self.embedding_size} numbers, "
            f"backend {self.embedder.backend})"
        )


@public
def load(
    path: str | Path,
    *,
    backend: str = "onnx",
    provider: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    output_name: str | None = None,
    checkpoint: str | int | None = None,
) -> Model:
    """Return the model of a run, a model folder or an ONNX file.

    Args:
        path: a run folder of `train`, a model folder, `hf://OWNER/NAME@COMMIT`, or an ONNX file.
        backend: what runs the network: "onnx", or for a run "torch" or "tf".
        provider: what ONNX Runtime computes on: "auto", "cpu", "cuda" or another that it has.
        device: what a framework computes on, if it is the backend: "auto", "cpu", "cuda"...
        threads: CPU threads; all for None.
        mean: subtracted from pixels (0..255), one number or three; the model's own for None.
        std: divides pixels after the mean; the model's own for None.
        channels: channel order of the network, "rgb" or "bgr"; the model's own for None.
        crop: (top, left, height, width) in pixels that is cut out of each image.
        output_name: output of an ONNX file that is the embedding; by its shape for None.
        checkpoint: of a run: "best" (of `keep_best`), "last" or a step; the last for None.

    Raises:
        MarginfaceError: no such model, a damaged one, or options that do not fit it.
    """
    place = fetched(as_path("path", path))
    embedder = open_embedder(
        place,
        backend=backend,
        provider=provider,
        device=device,
        threads=threads,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
    )
    return Model(place, embedder)


def open_model(
    model: str | Path | Model,
    *,
    backend: str,
    provider: str = "auto",
    device: str = "auto",
    **options: Any,
) -> Model:
    """Return a model that may be loaded already, which has its options then.

    Raises:
        MarginfaceError: as `load`, or a loaded model is given with options.
    """
    if not isinstance(model, Model):
        return load(model, backend=backend, provider=provider, device=device, **options)
    given = [name for name, value in options.items() if value is not None]
    given += ["provider"] * (provider != "auto") + ["device"] * (device != "auto")
    if given or backend not in ("onnx", model.embedder.backend):
        raise MarginfaceError(
            f"the model is loaded already; give {', '.join(given) or 'backend'} to mf.load instead"
        )
    return model


def providers(
    provider: str, model: str | Path | Model, backend: str, detector: object
) -> tuple[str, str]:
    """Return what a model and a detector compute on: a choice is for those that are opened with it.

    It is the detector's alone where the model is loaded already, or runs in a framework.
    """
    detects = isinstance(detector, (str, PathLike))
    only_detects = detects and (isinstance(model, Model) or backend != "onnx")
    return "auto" if only_detects else provider, provider if detects else "auto"


def _each(images: Any) -> Iterable[Any]:
    one = isinstance(images, (str, PathLike, Image.Image))
    if one or getattr(images, "ndim", 1) in (0, 2, 3):
        return [images]
    if not isinstance(images, Iterable):
        _refuse(images)
    return images


def _pixels(image: Any, size: tuple[int, int] | None, *, resize: Resize) -> NDArray[np.uint8]:
    if isinstance(image, (str, PathLike)):
        path = as_path("images", image)
        if path.is_dir():
            raise MarginfaceError(
                f"{path} is a folder; give its files, or write all to one file with mf.embed"
            )
        return read_image(path, size, resize=resize)
    if isinstance(image, Image.Image):
        if image.mode.startswith(("F", "I")):  # more than 8 bits
            _refuse(image)
        image = np.asarray(image.convert("RGB"), np.uint8)
    if hasattr(image, "__array__"):  # a tensor, too
        try:
            image = np.asarray(image)
        except (TypeError, RuntimeError) as error:  # it lies on a GPU, or has a gradient
            raise MarginfaceError(f"images are no array: {str(error).splitlines()[0]}") from None
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        _refuse(image)
    pixels: NDArray[np.uint8] = image
    if resize and size is not None and pixels.shape[:2] != size:
        pixels = np.asarray(resized(Image.fromarray(pixels), size, resize), np.uint8)
    return pixels


def _refuse(image: Any) -> NoReturn:
    found, hint = type(image).__name__, ""
    if isinstance(image, Image.Image):
        found = f"a PIL image of mode {image.mode}"
    elif hasattr(image, "dtype"):
        found = f"{image.dtype} {tuple(image.shape)}"
        if "float" in found:
            hint = "; of values from 0 to 1 give (255 * images).astype('uint8')"
    raise MarginfaceError(
        "images must be paths, PIL images or uint8 RGB arrays [N, height, width, 3], "
        f"got {found}{hint}"
    )
