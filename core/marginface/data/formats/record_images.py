"""Labelled images in one file, .rec or .tfrecord, by an index of its records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.folder import bad_images
from marginface.data.formats.record_index import RecordIndex
from marginface.data.images import decode_image
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError
from marginface.model import Resize

LOOKED_AT = 256  # images decoded at opening: enough to see a wrong size or format


class Records(Protocol):
    """A file of records; it may be read from several threads, and pickled."""

    @property
    def path(self) -> Path:
        """The file."""

    def image(self, offset: int) -> bytes:
        """Return the encoded image of the record that begins at byte `offset`."""


@dataclass(frozen=True, eq=False)
class RecordImages:
    """Labelled images in a file of records; `images[i]` reads image i, from any thread.

    Attributes:
        records: the file.
        index: its images, their places and labels.
        size: (height, width) of every image, in pixels.
        resize: how images of another size are brought to it, if at all.
        skipped: the bad images that were left out, as (name, reason).
    """

    records: Records
    index: RecordIndex
    size: tuple[int, int]
    resize: Resize
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> Path:
        """The file."""
        return self.records.path

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the identities; a label is an index into them."""
        return self.index.identities

    @property
    def labels(self) -> NDArray[np.int64]:
        """[number of images]."""
        return self.index.labels

    @property
    def numbered(self) -> bool:
        """Whether identities are mere numbers, which mean somebody else in another file."""
        return self.index.files is None and all(map(str.isdecimal, self.identities))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int64]:
        """Return image `index`, RGB [height, width, 3], and its label."""
        place = _Place(self, index)
        image = decode_image(self.encoded(index), place, self.size, resize=self.resize)
        return image, self.labels[index]

    def name(self, index: int) -> str:
        """Return the name of image `index`: `identity/file`, or `identity/key` without names."""
        return self.index.name(index)

    def encoded(self, index: int) -> bytes:
        """Return image `index` as it is stored."""
        return self.records.image(int(self.index.offsets[index]))

    def fingerprint(self) -> str:
        """Return a digest of the names, in order: that of a folder with the same names."""
        return self.index.fingerprint

    def checked(self, options: OpenOptions) -> RecordImages:
        """Check the images; return them, or with `skip_bad` the good ones.

        With `skip_bad` every image is decoded, else an evenly spread sample: it shows what is wrong
        with all of them, and a single bad one ends the training that meets it, by name.

        Raises:
            MarginfaceError: there are bad ones and they are not skipped.
        """
        if not options.check:
            return self
        skip_bad = options.skip_bad
        count = len(self) if skip_bad else min(len(self), LOOKED_AT)
        numbers = np.linspace(0, len(self) - 1, count).round().astype(np.int64)
        bad = bad_images(numbers.tolist(), self._problem, options.on_progress)
        if not bad:
            return self
        named = tuple((self.name(number), reason) for number, reason in bad)
        if not skip_bad:
            name, reason = named[0]
            raise MarginfaceError(
                f"{len(bad)} of {count} images looked at in {self.root} cannot be used; the first "
                f"is {name}: {reason}; or leave such out with --skip-bad"
            )
        good = np.setdiff1d(np.arange(len(self)), [number for number, _ in bad])
        return replace(self, index=self.index.take(good), skipped=named)

    def _problem(self, number: int) -> str:
        """Return why an image cannot be used, or an empty string."""
        try:
            self[number]
        except MarginfaceError as error:
            return str(error).removeprefix(f"{_Place(self, number)}: ")
        return ""


class _Place(NamedTuple):
    """The name of an image's place, made only for an error: it costs a tenth of reading one."""

    images: RecordImages
    number: int

    def __str__(self) -> str:
        images, number = self
        return f"{images.root}: record {images.index.keys[number]} ({images.name(number)})"
