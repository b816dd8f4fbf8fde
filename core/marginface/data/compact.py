"""Many short texts in two arrays."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


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

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> str:
        begin, end = self.offsets[index : index + 2]
        return os.fsdecode(self.encoded[begin:end].tobytes())


class TextCollector:
    """Takes texts one after the other."""

    def __init__(self) -> None:
        self._offsets = array("q", [0])
        self._encoded = bytearray()

    def append(self, text: str) -> None:
        """Take a text."""
        self._encoded += os.fsencode(text)
        self._offsets.append(len(self._encoded))

    def texts(self) -> Texts:
        """Return all of them."""
        return Texts(np.array(self._offsets, np.int64), np.array(self._encoded, np.uint8))
