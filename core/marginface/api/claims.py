"""The claim on an output: checked before the work, then locked until it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.locking import sole_writer
from marginface.outputs import check_file, check_folder


@contextmanager
def claimed_file(
    path: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()
) -> Iterator[None]:
    """Claim a file; raises as `check_file`."""
    check_file(path, overwrite=overwrite, inputs=(read := [*inputs]))
    with sole_writer(path):
        check_file(path, overwrite=overwrite, inputs=read)  # another may have written it just now
        yield


@contextmanager
def claimed_folder(
    folder: Path, name: str, *, overwrite: bool, inputs: Iterable[Path | None] = ()
) -> Iterator[None]:
    """Claim a folder by the lock of a file in it; raises as `check_folder`."""
    check_folder(folder, overwrite=overwrite, inputs=(read := [*inputs]))
    with sole_writer(folder / name):
        check_folder(folder, overwrite=overwrite, inputs=read)
        yield
