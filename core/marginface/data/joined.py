"""Several sets of labelled images as one, with the identities of all."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.shards import shard_paths
from marginface.data.lookup import same_form
from marginface.data.sources import LabelledImages
from marginface.errors import MarginfaceError

COMPARED = 8  # images of two sets whose images have the same names: enough to tell the sets apart


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """The images of several sets, one set after the other; `images[i]` reads image i.

    Attributes:
        sets: the sets.
        names: of the sets, all different; an image is called NAME/IDENTITY/IMAGE.
        identities: names of the identities: NAME/IDENTITY, or IDENTITY where sets are joined by it.
        labels: int64 [number of images], indices into identities.
        in_several: how many identities' names several sets have.
    """

    sets: tuple[LabelledImages, ...]
    names: tuple[str, ...]
    identities: tuple[str, ...]
    labels: NDArray[np.int64]
    in_several: int

    @property
    def root(self) -> Path:
        """The folder that holds all of the sets."""
        return Path(os.path.commonpath([each.root.absolute() for each in self.sets]))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image, in pixels."""
        return self.sets[0].size

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The bad images that were left out, as (name, reason)."""
        return tuple(
            (f"{set_name}/{name}", reason)
            for set_name, images in zip(self.names, self.sets, strict=True)
            for name, reason in images.skipped
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int64]:
        """Return image `index`, RGB [height, width, 3], and its label."""
        number, inside = self.place(index)
        return self.sets[number][inside][0], self.labels[index]

    def name(self, index: int) -> str:
        """Return the name of image `index`: SET/IDENTITY/IMAGE."""
        number, inside = self.place(index)
        return f"{self.names[number]}/{self.sets[number].name(inside)}"

    def encoded(self, index: int) -> bytes:
        """Return image `index` as it is stored."""
        number, inside = self.place(index)
        return self.sets[number].encoded(inside)

    def fingerprint(self) -> str:
        """Return a digest of which images are in each set, and of the order of the sets."""
        every = "\n".join(each.fingerprint() for each in self.sets)
        return hashlib.sha256(every.encode()).hexdigest()

    def twins(self) -> list[tuple[str, str]]:
        """Return the names of each two sets that hold the same images."""
        named = zip(self.names, self.sets, strict=True)
        return [
            (name, other_name)
            for (name, one), (other_name, other) in itertools.combinations(named, 2)
            if one.fingerprint() == other.fingerprint()
            and all(
                one.encoded(index) == other.encoded(index)
                for index in np.linspace(0, len(one) - 1, COMPARED).astype(int).tolist()
            )
        ]

    def place(self, index: int) -> tuple[int, int]:
        """Return the number of image `index`'s set, and the image's number in it."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (int(self._ends[number - 1]) if number else 0)

    def origin(self, index: int) -> tuple[Path, str]:
        """Return the folder or file of image `index`'s set, and the image's name there."""
        number, inside = self.place(index)
        return self.sets[number].root, self.sets[number].name(inside)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(each) for each in self.sets])


def join_sets(
    sets: Sequence[LabelledImages], names: Sequence[str], *, join_identities: bool
) -> JoinedImages:
    """Return several sets as one.

    Args:
        sets: of images of one size.
        names: of the sets, all different.
        join_identities: take a name that several sets have for one identity, in whatever form
            Unicode writes it; the first set's form stays. Else each set has its own identities.

    Raises:
        MarginfaceError: identities to join are numbers, for want of names.
    """
    names_of_sets = [[same_form(name) for name in each.identities] for each in sets]
    times = Counter(name for among in names_of_sets for name in set(among))
    if join_identities:
        _require_names(sets)
    number_of: dict[str, int] = {}
    identities: list[str] = []
    labels = []
    for set_name, images, among in zip(names, sets, names_of_sets, strict=True):
        numbers = []
        for key, identity in zip(among, images.identities, strict=True):
            if not join_identities:
                key = identity = f"{set_name}/{identity}"
            if key not in number_of:
                number_of[key] = len(identities)
                identities.append(identity)
            numbers.append(number_of[key])
        labels.append(np.array(numbers, np.int64)[images.labels])
    in_several = sum(count > 1 for count in times.values())
    return JoinedImages(
        tuple(sets), tuple(names), tuple(identities), np.concatenate(labels), in_several
    )


def called(paths: Sequence[Path]) -> str:
    """Return the name, for messages, of one set or of several taken as one.

    >>> called([Path("a")]), called([Path("a"), Path("b.rec")])
    ('a', 'the set of a and b.rec')
    """
    return str(paths[0]) if len(paths) == 1 else f"the set of {' and '.join(map(str, paths))}"


def check_different(paths: Sequence[Path]) -> None:
    """Raise if a set is given twice, by whatever path, or by two of its shards."""
    seen: dict[object, Path] = {}
    for path in paths:
        first = shard_paths(path)[0]
        state = first.stat() if first.exists() else None
        key = (state.st_dev, state.st_ino) if state else first.absolute()
        if key in seen:
            also = "" if path == seen[key] else f" (as {seen[key]}, too)"
            raise MarginfaceError(f"training set {path} is given twice{also}; give it once")
        seen[key] = path


def _require_names(sets: Sequence[LabelledImages]) -> None:
    for images in sets:
        if isinstance(images, RecordImages) and images.numbered:
            raise MarginfaceError(
                f"{images.root} has numbers for identities, no names by which to join them; leave "
                "join_identities out, or pack it anew from a folder with names"
            )
