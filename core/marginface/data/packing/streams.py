"""Files that grow chunk by chunk, with checksums by which a killed run can go on."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20  # bytes read at a time


class Streams:
    """Several files in a folder to which chunks are appended together.

    A mark holds, for each file, its length behind the chunk and the chunk's CRC-32.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.paths = [folder / name for name in names]
        self._files: list[BinaryIO] = []
        self.lengths = [0] * len(names)
        self._checks = [0] * len(names)

    def rewind(self, marks: Sequence[Any]) -> int:
        """Count the marked chunks that are whole on disk; drop what comes after them."""
        for path in self.paths:
            path.touch()
        with_previous = zip([None, *marks], marks, strict=False)
        whole_marks = sum(1 for _ in takewhile(lambda two: self._is_whole(*two), with_previous))
        if whole_marks:
            self.lengths = [length for length, _ in marks[whole_marks - 1]]
        for path, length in zip(self.paths, self.lengths, strict=True):
            os.truncate(path, length)
            self._files.append(path.open("ab"))
        return whole_marks

    def append(self, *data: bytes) -> None:
        """Append to each file."""
        for number, part in enumerate(data):
            self._files[number].write(part)
            self.lengths[number] += len(part)
            self._checks[number] = zlib.crc32(part, self._checks[number])

    def mark(self) -> Any:
        """Bring what was appended to disk; return the mark of it."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        mark = [list(pair) for pair in zip(self.lengths, self._checks, strict=True)]
        self._checks = [0] * len(self._checks)
        return mark

    def end(self) -> None:
        """Bring all to disk and close the files."""
        self.mark()
        self.close()

    def close(self) -> None:
        """Close the files, whether or not all of them took what they should."""
        for file in self._files:
            file.close()

    def _is_whole(self, before: Any, mark: Any) -> bool:
        begins = [0] * len(mark) if before is None else [length for length, _ in before]
        return all(
            _check_of(path, begin, length) == check
            for path, begin, (length, check) in zip(self.paths, begins, mark, strict=True)
        )


def _check_of(path: Path, begin: int, end: int) -> int | None:
    """Return the CRC-32 of a part of a file, or None where it ends before."""
    check, left = 0, end - begin
    with path.open("rb") as file:
        file.seek(begin)
        while left:
            chunk = file.read(min(CHUNK, left))
            if not chunk:
                return None
            check = zlib.crc32(chunk, check)
            left -= len(chunk)
    return check
