"""Record files that are one set in several parts: s.tfrecord-00000-of-00002 and its siblings."""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.example import ImageExample
from marginface.data.formats.tfrecord import TFRecordFile, is_tfrecord
from marginface.errors import MarginfaceError

# s.tfrecord-00000-of-00002, or s-00000-of-00002.tfrecord
SHARD = re.compile(r"(.*)-([0-9]{1,6})-of-([0-9]{1,6})(\.tfrecords?)?", re.IGNORECASE)
MAPPED = 128  # files at a time
SHOWN = 3  # names of missing shards in a message


def shards_of(path: Path) -> list[Path]:
    """Return the files of the set that a record file is a shard of, in order; else itself.

    Shards are numbered from 0, or from 1 where the last one's number is how many there are.

    Raises:
        MarginfaceError: some of the shards are missing, or there are none of that number.
    """
    found = SHARD.fullmatch(path.name)
    if found is None or not is_tfrecord(path):
        return [path]
    before, number, total, after = found[1], found[2], int(found[3]), found[4] or ""

    def name(shard: int) -> str:
        return f"{before}-{shard:0{len(number)}d}-of-{found[3]}{after}"

    there = {entry.name for entry in path.parent.iterdir()}
    first = 1 if name(0) not in there and name(total) in there else 0
    if not first <= int(number) < first + total:
        raise MarginfaceError(
            f"{path} calls itself number {int(number)} of {total} shards, which count from 0; "
            "rename it"
        )
    names = [name(shard) for shard in range(first, first + total)]
    missing = [each for each in names if each not in there]
    if missing:
        more = ", ..." if len(missing) > SHOWN else ""
        raise MarginfaceError(
            f"{path} is one of {total} shards, and {total - len(missing)} of {total} are there: "
            f"{', '.join(missing[:SHOWN])}{more} missing; restore the others, or take '-of-' out "
            "of the name to use this one alone"
        )
    return [path.with_name(each) for each in names]


def warn_of_parts(path: Path) -> None:
    """Warn that a .rec calls itself one of several: they are sets of their own."""
    found = SHARD.fullmatch(path.stem)
    if found is not None and int(found[3]) > 1:
        warnings.warn(
            f"{path} calls itself {int(found[2])} of {int(found[3])}; only .tfrecord files are "
            "taken together, so give the other parts, too",
            stacklevel=3,
        )


class ShardedRecords:
    """TFRecord files as one; a byte counts from the beginning of the first file.

    Raises:
        MarginfaceError: a file cannot be read, or all are empty.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.path = paths[0]
        self.paths = tuple(paths)
        filled = [path for path in paths if path.stat().st_size] or paths[:1]
        self._begins = [0, *accumulate(path.stat().st_size for path in filled)]
        # Each that is mapped counts as an open file, of which a process may have but some.
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
        """Return where each record begins, file after file; raises as `TFRecordFile.offsets`."""
        return np.concatenate(
            [self._file(shard).offsets() + begin for shard, begin in enumerate(self._begins[:-1])]
        )
