"""Memory-mapped files of records, one behind the other."""

from __future__ import annotations

import mmap
from array import array
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.regular import require_regular


def map_file(path: Path, shortest: int) -> mmap.mmap:
    """Return a file of records, mapped to be read.

    Raises:
        MarginfaceError: it cannot be read, or has fewer bytes than the shortest record.
    """
    require_regular(path, "expected records")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < shortest:
                raise MarginfaceError(
                    f"{path} has {size} bytes, too few for a record; restore the file"
                )
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise MarginfaceError(f"cannot read {path}: {error.strerror}; expected records") from error


class Chained(Protocol):
    """A file in which each record begins where the one before it ends."""

    size: int

    def end(self, offset: int) -> int:
        """Return the byte behind the record that begins at byte `offset`, or raise."""


def record_offsets(records: Chained) -> NDArray[np.int64]:
    """List the bytes where records begin, by reading the file from its beginning.

    Raises:
        MarginfaceError: a record is damaged or truncated.
    """
    offsets, at = array("q"), 0
    while at < records.size:
        offsets.append(at)
        at = records.end(at)
    return np.array(offsets, np.int64)
