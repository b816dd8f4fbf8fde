"""Write files and folders whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.regular import require_regular

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, largest file


@contextmanager
def naming(path: Path, temporary: Path, *, inside: bool = False) -> Iterator[None]:
    """Rename errors: where the system names the temporary file, name `path` instead.

    A full disk's error names no file, or the one that was copied.

    Args:
        path: the output, which the caller knows.
        temporary: the file or folder written in its place.
        inside: rename files inside the temporary folder, too.
    """
    try:
        yield
    except OSError as error:
        filename = error.filename
        if error.errno in NO_ROOM or str(filename) == str(temporary):
            error.filename = str(path)
        elif inside and isinstance(filename, str) and Path(filename).is_relative_to(temporary):
            error.filename = str(path / Path(filename).relative_to(temporary))
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it takes `path`'s place at the end.

    If the block raises, the temporary file goes and `path` stays as it was.

    Raises:
        MarginfaceError: `path` is a pipe, a socket or a device, such as /dev/null, and would go.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "notes.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('notes.txt', 'whole')]
    """
    require_regular(path, "give the name of a file to write")
    temporary = temporary_beside(path)
    try:
        with naming(path, temporary):
            yield temporary
            with temporary.open("r+b") as written:
                # Else a power cut can leave the name without the content.
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, put: Callable[[Path, Path], object] = Path.rename) -> Iterator[Path]:
    """Yield a temporary folder next to `path` to write to; it becomes `path` at the end.

    If the block raises, nothing stays. `put` renames the one to the other.
    """
    temporary = temporary_beside(path)
    try:
        with naming(path, temporary, inside=True):
            temporary.mkdir(parents=True)
            yield temporary
            put(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """Return a unique temporary name; a process number would not do, as two hosts can share it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
