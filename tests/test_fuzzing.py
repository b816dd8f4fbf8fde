"""Readers of users' files meet damaged ones; `fuzz_parsers` is what is tried."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import fuzz_parsers
import numpy as np
import pytest
from fuzz_parsers import PARSERS, Parser, check, copied

from marginface import MarginfaceError

MUTATIONS = 60


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change, remove, repeat or insert some bytes."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(changed) + 1))
        length = int(rng.integers(1, 9))
        kind = rng.integers(4)
        if kind == 0:
            changed[at : at + length] = rng.bytes(min(length, len(changed) - at))
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at:at] = rng.choice([b"\xff" * 8, b"\0" * 8, b"-1", b"\n", b"99999999999"])
    return bytes(changed)


@pytest.mark.parametrize("name", PARSERS)
def test_whole_files_are_read_and_damaged_ones_are_refused_in_a_line(
    name: str, tmp_path: Path
) -> None:
    folder, rng = copied(tmp_path), np.random.default_rng(0)
    for seed in PARSERS[name].seeds():
        assert check(name, seed, folder) is None
        refused = [check(name, mutated(seed, rng), folder) for _ in range(MUTATIONS)]
        assert any(refused)


def test_another_error_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(path: Path) -> None:
        if b"!" in path.read_bytes():
            raise IndexError("planted")
        raise MarginfaceError("two\nlines")

    monkeypatch.setitem(PARSERS, "planted", Parser("x.txt", planted, list))
    with pytest.raises(IndexError, match="planted"):
        check("planted", b"!", tmp_path)
    with pytest.raises(AssertionError, match="two"):
        check("planted", b"?", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="pip install atheris to fuzz with it"
)
@pytest.mark.parametrize("name", PARSERS)
def test_no_bytes_break_a_reader(name: str, tmp_path: Path) -> None:
    given = [sys.executable, fuzz_parsers.__file__, name, "--runs", "20000", "--seconds", "20"]
    done = subprocess.run(given, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "stat::number_of_executed_units" in done.stderr
