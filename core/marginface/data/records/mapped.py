"""Memory-mapped files."""

from __future__ import annotations

import mmap
from pathlib import Path

from marginface.errors import MarginfaceError


def map_file(path: Path, shortest: int) -> mmap.mmap:
    """Return a file of records, mapped to be read.

    Raises:
        MarginfaceError: it cannot be read, or has fewer bytes than the shortest record.
    """
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
