"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from marginface.atomic import new_folder, replacing


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half") // 0
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("notes.txt", "before")
    ]


def test_errors_name_the_path_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "notes.txt"
    with pytest.raises(FileNotFoundError) as caught, replacing(path) as temporary:
        temporary.write_text("never")
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("write", [replacing, new_folder])
@pytest.mark.parametrize("named", [(), ("a file that is copied",)])
def test_a_full_disks_error_names_what_was_to_be_written(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]], named: tuple[str, ...]
) -> None:
    path = tmp_path / "target"
    with pytest.raises(OSError, match="No space left") as caught, write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)
    assert caught.value.filename == str(path)


def test_what_cannot_be_written_in_a_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "target"
    with pytest.raises(FileNotFoundError) as caught, new_folder(path) as temporary:
        (temporary / "missing" / "notes.txt").touch()
    assert caught.value.filename == str(path / "missing" / "notes.txt")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "target"
    with pytest.raises(NotADirectoryError) as caught, new_folder(path):
        pass
    assert caught.value.filename == str(path)
