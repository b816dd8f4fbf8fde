"""Inspect a set of images: its contents, its faults, and its overlap with another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import decode_image, encoded_format
from marginface.data.listing import Listing
from marginface.data.lookup import look_alike, same_form
from marginface.data.names import image_path
from marginface.data.ordered import in_order
from marginface.data.sources import OnProgress, silent
from marginface.errors import MarginfaceError

STRIDE = 32  # images between two calls of on_progress

Hashes = NDArray[np.uint64]  # [images, 2]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of inspecting a set.

    Attributes:
        listing: the set itself.
        formats: images of each format.
        sizes: images of each (height, width) in pixels.
        broken: (name, reason) of images that cannot be decoded.
        whole: numbers of the others, [whole images].
        hashes: 16 bytes of each one's pixels, [whole images, 2]: equal pixels, equal hash, however
            they are encoded.
    """

    listing: Listing
    formats: Counter[str]
    sizes: Counter[tuple[int, int]]
    broken: list[tuple[str, str]]
    whole: Indices
    hashes: Hashes

    @cached_property
    def images_an_identity(self) -> Indices | None:
        """Images of each identity, [identities], or None where there are none."""
        labels = self.listing.labels
        return None if labels is None else np.bincount(labels)

    @cached_property
    def duplicates(self) -> list[Indices]:
        """Numbers of images with the same pixels, for each picture that occurs several times."""
        return [self.whole[group] for group in equal_rows(self.hashes)]

    @cached_property
    def mislabelled(self) -> list[Indices]:
        """The duplicates that belong to more than one identity."""
        labels = self.listing.labels
        if labels is None:
            return []
        return [group for group in self.duplicates if (labels[group] != labels[group[0]]).any()]

    @cached_property
    def two_forms(self) -> list[tuple[str, str]]:
        """Each two identities that have one name in two Unicode forms."""
        return look_alike(self.listing.identities or ())

    def names(self, group: Indices) -> list[str]:
        """Return the names of images."""
        return [self.listing.name(int(index)) for index in group]


def inspect(listing: Listing, on_progress: OnProgress = silent) -> Inspection:
    """Decode every image of a set once; 24 bytes for each stay in memory.

    Raises:
        MarginfaceError: the set holds no image.
    """
    count = listing.count
    digests, whole = bytearray(), np.ones(count, np.bool_)
    formats: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    broken: list[tuple[str, str]] = []
    for index, decoded in enumerate(in_order(partial(_look, listing), range(count))):
        if isinstance(decoded, MarginfaceError):
            whole[index] = False
            name = listing.name(index)
            broken.append((name, str(decoded).removeprefix(f"{image_path(listing.root, name)}: ")))
        else:
            image_format, size, digest = decoded
            formats[image_format] += 1
            sizes[size] += 1
            digests += digest
        if index % STRIDE == 0 or index + 1 == count:
            on_progress(index + 1, count)
    hashes = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    return Inspection(listing, formats, sizes, broken, np.flatnonzero(whole), hashes)


def _look(listing: Listing, index: int) -> tuple[str, tuple[int, int], bytes] | MarginfaceError:
    where = image_path(listing.root, listing.name(index))
    try:
        encoded = listing.encoded(index)
        pixels = decode_image(encoded, where, None)
        image_format = encoded_format(encoded, where)
    except MarginfaceError as error:
        return error
    height, width, _ = pixels.shape
    digest = hashlib.blake2b(f"{height}x{width}:".encode(), digest_size=16)
    digest.update(pixels.data)
    return image_format, (height, width), digest.digest()


@dataclass(frozen=True)
class Shared:
    """The overlap of two sets.

    Attributes:
        identities: names of identities in both, or None where one of them names none.
        images: for each picture in both, a name in the first set, then all in the second.
    """

    identities: list[str] | None
    images: list[list[str]]


def shared(first: Inspection, second: Inspection) -> Shared:
    """Return the identities that two sets share by name, and the images by pixels."""
    one, two = first.listing.identities, second.listing.identities
    identities = None
    if one is not None and two is not None:
        identities = sorted({*map(same_form, one)} & {*map(same_form, two)})
    split = len(first.hashes)
    images = []
    for group in equal_rows(np.concatenate([first.hashes, second.hashes])):
        here, there = group[group < split], group[group >= split] - split
        if len(here) and len(there):
            names = first.names(first.whole[here[:1]]) + second.names(second.whole[there])
            images.append(names)
    return Shared(identities, sorted(images))


def equal_rows(rows: Hashes) -> Iterator[Indices]:
    """Yield the indices of rows that are equal, for each row that occurs more than once, ascending.

    >>> list(equal_rows(np.array([[1, 2], [3, 4], [1, 2]], np.uint64)))
    [array([0, 2])]
    """
    order = np.lexsort(rows.T)
    ordered = rows[order]
    begins = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(1), True])
    for group in np.flatnonzero(np.diff(begins) > 1):
        yield np.sort(order[begins[group] : begins[group + 1]])
