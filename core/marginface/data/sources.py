"""What holds images: by name, to be evaluated and embedded; by number with labels, to train on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import read_file
from marginface.errors import MarginfaceError


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
        """What was left out as (name, reason)."""

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
        return read_file(self.root / name)
