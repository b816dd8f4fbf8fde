"""Writing a folder of `identity/image` files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from marginface.data.names import inner_path, split_name
from marginface.data.packing.packed import Packed
from marginface.errors import MarginfaceError
from marginface.outputs import put_folder
from marginface.text import from_system


class FolderBlocks:
    """Writes `identity/image` files, chunk by chunk; see `ChunkWriter`."""

    def __init__(self, partial: Path, target: Path, records: int) -> None:
        del records
        self._root = partial / "images"
        self._target = target
        self._names: list[str] = []
        self._check = 0

    def rewind(self, marks: Sequence[Any]) -> int:
        """Compare the files of each chunk with its checksum."""
        whole_marks = sum(1 for _ in takewhile(self._is_whole, marks))
        self._drop_others({name for mark in marks[:whole_marks] for name in mark["names"]})
        return whole_marks

    def add(self, image: Packed) -> None:
        """Write a file."""
        split_name(image.name)  # raises for other names
        path = inner_path(self._root, image.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(image.encoded)
        except FileExistsError as error:
            raise MarginfaceError(
                f"two images would be {image.name}; rename one, or keep their formats"
            ) from error
        self._names.append(image.name)
        self._check = zlib.crc32(image.encoded, self._check)

    def mark(self) -> Any:
        """Return the names and the checksum of the files since the last mark."""
        mark = {"names": self._names, "check": self._check}
        self._names, self._check = [], 0
        return mark

    def finish(self, sizes: Sequence[int]) -> None:
        """Bring all to disk, then give the folder its name."""
        del sizes
        if hasattr(os, "sync"):  # not on Windows
            os.sync()
        put_folder(self._root, self._target)

    def close(self) -> None:
        """Do nothing: each file is closed already."""

    def _is_whole(self, mark: Any) -> bool:
        check = 0
        try:
            for name in mark["names"]:
                check = zlib.crc32(inner_path(self._root, name).read_bytes(), check)
        except FileNotFoundError:
            return False
        return bool(check == mark["check"])

    def _drop_others(self, names: set[str]) -> None:
        for folder, subfolders, files in os.walk(self._root, topdown=False):
            for path in (Path(folder, name) for name in (*subfolders, *files)):
                if path.is_symlink() or path.is_file():
                    if from_system(path.relative_to(self._root).as_posix()) not in names:
                        path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()
