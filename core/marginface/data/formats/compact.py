"""Many short texts in two arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK = 65_536  # texts taken out together


def encoded_name(name: str) -> bytes:
    """Return a file's name as bytes; `os.fsencode` does the same on most systems, more slowly."""
    return name.encode(errors="surrogateescape")


def _decoded(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


class Texts:
    """Texts, end to end: `texts[i]` is number i.

    Args:
        offsets: int64 [texts + 1], where each begins and the last one ends.
        encoded: uint8 [bytes].

    >>> texts = Texts.of(["ann", "bob"])
    >>> len(texts), texts[1]
    (2, 'bob')
    """

    def __init__(self, offsets: NDArray[np.int64], encoded: NDArray[np.uint8]) -> None:
        self.offsets = offsets
        self.encoded = encoded

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Store texts; file names that are no UTF-8, too."""
        collected = TextCollector()
        for text in texts:
            collected.append(text)
        return collected.texts()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self.offsets[index : index + 2]
        return _decoded(self.encoded[begin:end].tobytes())

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), CHUNK):
            bounds = self.offsets[first : first + CHUNK + 1]
            encoded = self.encoded[bounds[0] : bounds[-1]].tobytes()
            begin, *ends = (bounds - bounds[0]).tolist()
            for end in ends:
                yield _decoded(encoded[begin:end])
                begin = end


class TextCollector:
    """Collects texts one after the other."""

    def __init__(self) -> None:
        self._offsets = array("q", [0])
        self._encoded = bytearray()

    def append(self, text: str) -> None:
        """Add a text."""
        self._encoded += encoded_name(text)
        self._offsets.append(len(self._encoded))

    def texts(self) -> Texts:
        """Return all of them."""
        return Texts(np.array(self._offsets, np.int64), np.array(self._encoded, np.uint8))
