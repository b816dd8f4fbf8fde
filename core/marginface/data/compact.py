"""Many short texts in two arrays."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable

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
        offsets, encoded = array("q", [0]), bytearray()
        for text in texts:
            encoded += os.fsencode(text)
            offsets.append(len(encoded))
        return cls(np.array(offsets, np.int64), np.frombuffer(bytes(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        begin, end = self.offsets[index : index + 2]
        return os.fsdecode(self.encoded[begin:end].tobytes())
