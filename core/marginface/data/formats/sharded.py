"""The records of several TFRecord files that are one set."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.example import ImageExample
from marginface.data.formats.tfrecord import TFRecordFile
from marginface.errors import MarginfaceError
from marginface.regular import require_regular

MAPPED = 128  # files at a time


class ShardedRecords:
    """TFRecord files as one; a byte counts from the beginning of the first file.

    Raises:
        MarginfaceError: a file cannot be read, or all are empty.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        for path in paths:
            require_regular(path, "expected records")
        self.path = paths[0]
        self.paths = tuple(paths)
        filled = [path for path in paths if path.stat().st_size] or paths[:1]
        self._begins = [0, *accumulate(path.stat().st_size for path in filled)]
        # Each mapped file counts as an open one, and systems limit those of a process.
        self._file = lru_cache(MAPPED)(lambda shard: TFRecordFile(filled[shard]))
        self._file(0)

    def __reduce__(self) -> tuple[type[ShardedRecords], tuple[tuple[Path, ...]]]:
        return ShardedRecords, (self.paths,)

    def image(self, offset: int) -> bytes:
        """Return the encoded image of the record at byte `offset`; raises as `example`."""
        return self.example(offset).image

    def example(self, offset: int) -> ImageExample:
        """Return the image and label at byte `offset`; raises as `TFRecordFile.example`."""
        if not 0 <= offset < self._begins[-1]:
            raise MarginfaceError(
                f"{self.path}: no record begins at byte {offset}, its shards have "
                f"{self._begins[-1]} bytes; restore them"
            )
        shard = bisect_right(self._begins, offset) - 1
        return self._file(shard).example(offset - self._begins[shard])

    def offsets(self) -> NDArray[np.int64]:
        """List the bytes where records begin, file after file; raises as `TFRecordFile.offsets`."""
        return np.concatenate(
            [self._file(shard).offsets() + begin for shard, begin in enumerate(self._begins[:-1])]
        )
