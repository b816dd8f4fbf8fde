"""Read images in batches of one size, ahead of the model that consumes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import read_image
from marginface.errors import MarginfaceError

THREADS = 2  # decoding is a hundredth of the model's work on a CPU, and Pillow releases the GIL
BATCHES_AHEAD = 2

Image = NDArray[np.uint8]


class ImageReader:
    """Reads images below `root`, all of one size.

    Args:
        root: the folder that paths are relative to.
        size: (height, width) that every image must have, or None: the first one read decides.
        resize: bring images of another size to `size` instead of refusing them.
        skip_bad: leave out images that cannot be decoded, and list them in `skipped`.
    """

    def __init__(
        self,
        root: Path,
        size: tuple[int, int] | None,
        *,
        resize: bool = False,
        skip_bad: bool = False,
    ) -> None:
        if resize and size is None:
            raise MarginfaceError("cannot resize without a size to resize to")
        self.root = root
        self.size = size
        self._size_of = "the model takes"
        self.resize = resize
        self.skip_bad = skip_bad
        self.skipped: list[tuple[str, str]] = []  # path, reason

    def batches(
        self, paths: Sequence[str], batch_size: int
    ) -> Iterator[tuple[tuple[str, ...], Image]]:
        """Yield paths and their images [batch, height, width, 3] in order.

        Raises:
            MarginfaceError: an image is unreadable (unless skipped) or of another size.
        """
        chunks = (paths[at : at + batch_size] for at in range(0, len(paths), batch_size))
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: deque[list[tuple[str, Future[Image]]]] = deque()
            for chunk in chunks:
                waiting.append([(path, pool.submit(self._read, path)) for path in chunk])
                if len(waiting) > BATCHES_AHEAD:
                    yield from self._collect(waiting.popleft())
            while waiting:
                yield from self._collect(waiting.popleft())

    def _read(self, path: str) -> Image:
        return read_image(self.root / path, self.size if self.resize else None, resize=self.resize)

    def _collect(
        self, batch: list[tuple[str, Future[Image]]]
    ) -> Iterator[tuple[tuple[str, ...], Image]]:
        paths, images = [], []
        for path, future in batch:
            try:
                image = future.result()
            except MarginfaceError as error:
                if not self.skip_bad:
                    raise
                self.skipped.append((path, str(error)))
                continue
            self._check_size(path, image)
            paths.append(path)
            images.append(image)
        if images:
            yield tuple(paths), np.stack(images)

    def _check_size(self, path: str, image: Image) -> None:
        height, width = image.shape[:2]
        if self.size is None:
            self.size = (height, width)
            self._size_of = "the first image is"
        if (height, width) != self.size:
            raise MarginfaceError(
                f"{self.root / path}: the image is {height}x{width} (height x width), expected "
                f"{self.size[0]}x{self.size[1]} as {self._size_of}; align it to that size, pass "
                "--resize to scale it, or --crop top,left,height,width to cut out a part"
            )
