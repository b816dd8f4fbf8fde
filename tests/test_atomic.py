"""Files written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from marginface.atomic import replacing


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
