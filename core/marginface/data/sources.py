"""Sources of images: by name, to evaluate and embed; by number with labels, to train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import read_file
from marginface.data.names import image_path
from marginface.errors import MarginfaceError
from marginface.model import Resize

OnProgress = Callable[[int, int], None]  # called with what is done, and what there is in all


def silent(done: int, total: int) -> None:
    """Say nothing of progress."""


def or_left_out(error: MarginfaceError) -> MarginfaceError:
    """Return the error of a bad image with the option that leaves such out."""
    return MarginfaceError(f"{error}, or leave such out with --skip-bad")


@dataclass(frozen=True)
class OpenOptions:
    """Options for opening a set of labelled images.

    Args:
        size: (height, width) of the images, in pixels.
        resize: bring images of another size to it instead of refusing them.
        check: decode images to find bad ones; else none is decoded.
        skip_bad: where they are checked, leave out bad images; they are in `skipped`.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        min_identities: how many there must be where images are checked.
        on_progress: called with (images read, all images) as reading goes on.
    """

    size: tuple[int, int] = (112, 112)
    resize: Resize = False
    check: bool = False
    skip_bad: bool = False
    rebuild_index: bool = False
    min_identities: int = 2
    on_progress: OnProgress = silent


class ImageSource(Protocol):
    """Images by name."""

    @property
    def root(self) -> Path:
        """The file or folder that holds them."""

    def encoded(self, name: str) -> bytes:
        """Return the bytes of the image file of that name.

        Raises:
            MarginfaceError: there is none, or it cannot be read.
        """


@runtime_checkable
class LabelledImages(Protocol):
    """Images by number, with the identity of each: what training takes.

    `images[i]` decodes image i, RGB uint8 [height, width, 3] of `size`, and gives its label. It may
    be called from several threads.
    """

    @property
    def root(self) -> Path:
        """The file or folder that holds them."""

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the identities; a label is an index into them."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """[number of images]."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image, in pixels."""

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The bad images that were left out, as (name, reason)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int64]: ...

    def name(self, index: int) -> str:
        """Return a name that no other image here has: `identity/image`, forward slash."""

    def encoded(self, index: int) -> bytes:
        """Return an image as it is stored: JPEG, PNG or another format's file."""

    def fingerprint(self) -> str:
        """Return a digest of which images are here and in which order: same for the same data."""


@dataclass(frozen=True)
class ImagesByName:
    """An `ImageSource` of labelled images."""

    images: LabelledImages

    @property
    def root(self) -> Path:
        """The file or folder that holds them."""
        return self.images.root

    def encoded(self, name: str) -> bytes:
        """Return an image as it is stored."""
        if name not in self._numbers:
            raise MarginfaceError(f"no image {name} in {self.root}")
        return self.images.encoded(self._numbers[name])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {self.images.name(number): number for number in range(len(self.images))}


@dataclass(frozen=True)
class FolderImages:
    """An `ImageSource` of the files under a folder; names are paths relative to it."""

    root: Path

    def encoded(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return read_file(image_path(self.root, name))
