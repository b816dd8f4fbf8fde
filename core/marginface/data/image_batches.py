"""Read images in batches of one size, ahead of the model that consumes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import decode_image, wrong_size
from marginface.data.names import image_path
from marginface.data.ordered import in_order
from marginface.data.sources import ImageSource, or_left_out
from marginface.errors import MarginfaceError
from marginface.model import Resize

THREADS = 2  # decoding is a hundredth of the model's work on a CPU, and Pillow releases the GIL
BATCHES_AHEAD = 2

Image = NDArray[np.uint8]


class ImageReader:
    """Reads images by name, all of one size.

    Args:
        source: of the images.
        size: (height, width) that every image must have, or None: all must be like the first.
        resize: bring images of another size to `size` instead of refusing them.
        skip_bad: leave out images that are unreadable or not of `size`; list them in `skipped`.
    """

    def __init__(
        self,
        source: ImageSource,
        size: tuple[int, int] | None,
        *,
        resize: Resize = False,
        skip_bad: bool = False,
    ) -> None:
        if resize and size is None:
            raise MarginfaceError("cannot resize without a size to resize to")
        self.source = source
        self.size = self._common_size = size
        self.resize = resize
        self.skip_bad = skip_bad
        self.skipped: list[tuple[str, str]] = []  # path, reason

    def batches(
        self, paths: Sequence[str], batch_size: int
    ) -> Iterator[tuple[tuple[str, ...], Image]]:
        """Yield paths and their images [batch, height, width, 3] in order.

        Raises:
            MarginfaceError: an image is unreadable or of another size, unless such are skipped.
        """
        ahead = BATCHES_AHEAD * batch_size
        with closing(in_order(self._read, paths, threads=THREADS, ahead=ahead)) as read:
            for at in range(0, len(paths), batch_size):
                yield from self._collect(zip(paths[at : at + batch_size], read, strict=False))

    def _read(self, path: str) -> Image | MarginfaceError:
        try:
            encoded = self.source.encoded(path)
            return decode_image(
                encoded, image_path(self.source.root, path), self.size, resize=self.resize
            )
        except MarginfaceError as error:
            return error

    def _collect(
        self, batch: Iterable[tuple[str, Image | MarginfaceError]]
    ) -> Iterator[tuple[tuple[str, ...], Image]]:
        paths, images = [], []
        for path, image in batch:
            if isinstance(image, MarginfaceError):
                if not self.skip_bad:
                    raise or_left_out(image) from image
                self.skipped.append((path, str(image)))
                continue
            size = image.shape[:2]
            self._common_size = self._common_size or size
            if size != self._common_size:
                why = " as the first image is"
                raise wrong_size(image_path(self.source.root, path), size, self._common_size, why)
            paths.append(path)
            images.append(image)
        if images:
            yield tuple(paths), np.stack(images)
