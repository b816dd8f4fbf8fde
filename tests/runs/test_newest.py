"""Whoever reads a run takes its newest whole checkpoint, and says which ones are damaged."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from runs import save_checkpoint

from marginface import MarginfaceError, backbones
from marginface.model import ModelSpec
from marginface.runs.checkpoints import ARRAYS, REST, Checkpoint
from marginface.runs.folder import load_run

WEIGHTS = backbones.initial_weights(backbones.describe("mobilefacenet", 8), 0)
NEWEST = "step-00000003"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1, 2 and 3, whose weights are that many times `WEIGHTS`."""
    run = tmp_path_factory.mktemp("runs") / "a run"
    for step in (1, 2, 3):
        state = {f"backbone.{name}": value * step for name, value in WEIGHTS.items()}
        state["head.weight"] = np.ones((3, 8), np.float32)
        save_checkpoint(run / "checkpoints", Checkpoint(step, state, {}))
    (run / "model.json").write_text(json.dumps(ModelSpec("mobilefacenet", 8).to_json()))
    return run


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "a run"))


def turn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


def replace_by(make):
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def as_another_step(path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(path.with_name("step-00000001"), path)


def as_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


DAMAGE = {
    "cut short": (ARRAYS, lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "longer": (ARRAYS, lambda path: path.write_bytes(path.read_bytes() + b"\0")),
    "a byte turned": (ARRAYS, turn),
    "empty": (ARRAYS, lambda path: path.write_bytes(b"")),
    "zeros": (ARRAYS, lambda path: path.write_bytes(bytes(path.stat().st_size))),
    "missing": (ARRAYS, Path.unlink),
    "a folder": (ARRAYS, replace_by(Path.mkdir)),
    "a pipe": (ARRAYS, replace_by(os.mkfifo)),
    "a link to nothing": (ARRAYS, replace_by(lambda path: path.symlink_to("away"))),
    "a link to itself": (ARRAYS, replace_by(lambda path: path.symlink_to(path))),
    "record missing": (REST, Path.unlink),
    "record empty": (REST, lambda path: path.write_bytes(b"")),
    "record in UTF-16": (REST, lambda path: path.write_text(path.read_text(), encoding="utf-16")),
    "record a folder": (REST, replace_by(Path.mkdir)),
    "record a pipe": (REST, replace_by(os.mkfifo)),
    "record without a checksum": (REST, lambda path: path.write_text('{"format": 1, "step": 3}')),
    "of another step": (".", as_another_step),
    "a file in its place": (".", as_a_file),
    "empty folder": (".", lambda path: (shutil.rmtree(path), path.mkdir())),
}


def step_of(weights) -> float:
    name = next(iter(WEIGHTS))
    return float(np.mean(np.asarray(weights[name]) / WEIGHTS[name]))


READERS = {
    "a model": lambda path: load_run(path).weights,
    "weights": backbones.read_weights,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", DAMAGE)
def test_the_one_before_a_damaged_one_is_taken(run, kind, reader):
    name, damage = DAMAGE[kind]
    damage(run / "checkpoints" / NEWEST / name)
    with pytest.warns(match=f"{NEWEST} is damaged .*: took step-00000002, the newest that is"):
        assert step_of(READERS[reader](run)) == pytest.approx(2)


@pytest.mark.parametrize("reader", READERS)
def test_a_named_one_is_taken_or_refused(run, reader):
    checkpoints = run / "checkpoints"
    turn(checkpoints / NEWEST / ARRAYS)
    with pytest.raises(MarginfaceError, match=f"{NEWEST} is damaged .* give the run's folder"):
        READERS[reader](checkpoints / NEWEST)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*damaged")
        assert step_of(READERS[reader](checkpoints / "step-00000001")) == pytest.approx(1)


@pytest.mark.parametrize("reader", READERS)
def test_where_none_is_whole_no_other_is_promised(run, reader):
    for path in (run / "checkpoints").iterdir():
        turn(path / ARRAYS)
    advice = r"and so are the 2 before it; restore one from a copy, or train again: `marginface"
    with pytest.raises(MarginfaceError, match=f"{NEWEST} is damaged .*, {advice}"):
        READERS[reader](run)
