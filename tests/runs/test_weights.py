"""Weights are found in runs and checkpoints, and under the names that others put around them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import save_checkpoint

from marginface import MarginfaceError, backbones
from marginface.runs.checkpoints import ARRAYS, Checkpoint

GRAPH = backbones.describe("mbf", 16)
WEIGHTS = backbones.initial_weights(GRAPH, 0)


def loaded(path: Path) -> str:
    """Read and check weights, which must be `WEIGHTS`; return what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        arrays = backbones.check_weights(GRAPH, backbones.read_weights(path), str(path))
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(arrays[name], value)
    return "; ".join(str(each.message) for each in said)


@pytest.fixture
def run(tmp_path):
    for step, factor in ((1, 2), (2, 1)):
        state = {f"backbone.{name}": value * np.float32(factor) for name, value in WEIGHTS.items()}
        slots = {f"optimizer.momentum.{name}": value for name, value in state.items()}
        rest = {"head.weight": np.ones((3, 16), np.float32), **slots}
        save_checkpoint(tmp_path / "run/checkpoints", Checkpoint(step, state | rest, {}))
    return tmp_path / "run"


NEWEST = "checkpoints/step-00000002"


@pytest.mark.parametrize("part", ["", "checkpoints", NEWEST, f"{NEWEST}/{ARRAYS}"])
def test_runs_and_checkpoints(run, part):
    said = loaded(run / part)
    assert f"took the {len(WEIGHTS)} arrays of the backbone; left" in said
    assert "of head and optimizer" in said


def test_the_arrays_of_a_checkpoint_alone(run, tmp_path):
    shutil.copy(run / NEWEST / ARRAYS, tmp_path / "w.safetensors")
    assert "took 'backbone'; left" in loaded(tmp_path / "w.safetensors")


def test_a_run_without_a_checkpoint_is_refused(run):
    shutil.rmtree(run / "checkpoints")
    (run / "model.json").write_text("{}")
    with pytest.raises(MarginfaceError, match="has no checkpoint yet"):
        backbones.read_weights(run)


def under(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": torch.from_numpy(value) for name, value in WEIGHTS.items()}


HEAD = {"weight": torch.ones(3, 16)}
MOMENTUM = {"state": {at: {"momentum_buffer": torch.ones(2)} for at in range(3)}}
NESTED = {
    "net_state_dict": ({"iter": 3, "net_state_dict": under("")}, "took 'net_state_dict'"),
    "two levels": ({"state_dict": {"model": under("")}, "epoch": 1}, "left 1: 'epoch'"),
    "another name": ({"net": under(""), "head": HEAD, "optimizer": MOMENTUM}, "took 'net'; left 4"),
    "three levels": ({"a": {"b": {"c": under("")}}, "d": HEAD}, "took 'a.b.c'; left 1: 'd.weight'"),
    "prefix": ({"state_dict": under("model.") | {"head.weight": HEAD["weight"]}}, "took 'model'"),
    "wrapped": ({"model": under("backbone.module.")}, ""),
    "beside a scale": ({"backbone": under("module."), "scale": torch.ones(1)}, "left 1: 'scale'"),
    "bare": (under("module."), ""),
}


@pytest.mark.parametrize("kind", NESTED)
def test_nested_state_dicts(tmp_path, kind):
    value, words = NESTED[kind]
    torch.save(value, tmp_path / "w.pt")
    said = loaded(tmp_path / "w.pt")
    assert words in said if words else not said


def test_two_backbones_are_refused_by_name(tmp_path):
    torch.save({"student": under(""), "teacher": under("")}, tmp_path / "w.pt")
    with pytest.raises(MarginfaceError, match=r"several backbones, 'student\.' and 'teacher\.'"):
        loaded(tmp_path / "w.pt")
