"""Runs with frozen parts end as without the stop, wherever they are stopped."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import patches  # noqa: F401  # registers the network that the runs name
import pytest

from marginface.runs.checkpoints import latest_checkpoint, list_checkpoints, load_checkpoint
from marginface.runs.chosen import find_best, read_step
from marginface.runs.metrics import TRAIN, read_metrics

SMALL = ("--embedding-size", 16, "--batch-size", 6, "--scale", 8)
REST = ("--threads", 1, "--log-every", 1, "--compile", "off")
MODULES = {"torch": "torch", "tf": "tensorflow"}
STEPS, UNFREEZE = 8, 4


def arguments(backend: str, faces: Path, output: Path, *more: Any) -> list[Any]:
    if importlib.util.find_spec(MODULES[backend]) is None:
        pytest.skip(f"backend {backend} is not installed")
    return ["--backend", backend, "--data", faces, "--output", output, *SMALL, *REST, *more]


def losses(run: Path) -> list[float]:
    """Return each step's."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == TRAIN]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [line["loss"] for line in lines]


def assert_same_end(first: Path, second: Path, **close: float) -> None:
    ends = [load_checkpoint(latest_checkpoint(run / "checkpoints")) for run in (first, second)]
    assert ends[0].step == ends[1].step
    assert ends[0].state.keys() == ends[1].state.keys()
    for name, value in ends[0].state.items():
        np.testing.assert_allclose(ends[1].state[name], value, **close, err_msg=name)


@pytest.mark.parametrize("backend", ["torch", pytest.param("tf", marks=pytest.mark.slow)])
def test_parts_may_learn_from_a_resumption_on(printed, refusal, backend, tiny_faces, tmp_path):
    """As if the step had been given at first, though the checkpoint has no slots of them."""
    given = ("--backbone", "tiny_patches", "--freeze", "stem,layer1", "--checkpoint-every", 2)
    given += ("--max-steps", 4, "--lr", 0.01)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    printed("train", *arguments(backend, tiny_faces, whole, *given, "--unfreeze-at", 3))
    printed("train", *arguments(backend, tiny_faces, resumed, *given))
    shutil.rmtree(latest_checkpoint(resumed / "checkpoints"))  # as if killed after step 2
    again = ("train", "--output", resumed, "--resume")
    assert "give --unfreeze-at 2 or more" in refusal(*again, "--unfreeze-at", 1)
    assert "cannot change freeze" in refusal(*again, "--freeze", "stem")
    printed(*again, "--unfreeze-at", 3)
    assert_same_end(whole, resumed, rtol=0)
    assert "learn since step 3" in refusal(*again, "--unfreeze-at", 9, "--max-steps", 10)


def test_a_wrong_part_leaves_nothing(refusal, tiny_faces, tmp_path):
    more = ("--lr", 0.01, "--max-steps", 1, "--backbone", "mobilefacenet")
    given = arguments("torch", tiny_faces, tmp_path / "run", *more)
    for option, value, message in (
        ("--freeze", "blocks.15", "did you mean 'blocks.5'? (parts of mobilefacenet: stem, "),
        ("--lr-factor", "stem=0", "to hold it still give --freeze stem"),
        ("--lr-factor", "stem", "lr_factor must be name=value,name=value, got 'stem'"),
    ):
        assert message in refusal("train", *given, option, value)
    late = refusal("train", *given, "--freeze", "stem", "--unfreeze-at", 1)
    assert "unfreeze_at 1 is never reached: the run has 1 steps" in late
    assert not (tmp_path / "run").exists()


def cut_back(run: Path, step: int, copy: Path) -> Path:
    """Copy a run as a kill after one of its checkpoints would have left it."""
    shutil.copytree(run, copy)
    for path in list_checkpoints(copy / "checkpoints"):
        if read_step(path) > step:
            shutil.rmtree(path)
    return copy


@pytest.mark.parametrize("backend", ["torch", pytest.param("tf", marks=pytest.mark.slow)])
def test_the_other_framework_goes_on_and_hands_back(
    printed, backend, tiny_faces, pairs_file, tmp_path
):
    """While parts are frozen, which then learn there; and after that."""
    (other,) = MODULES.keys() - {backend}
    arguments(other, tiny_faces, tmp_path)
    whole = tmp_path / "whole"
    every = ("--backbone", "tiny_patches", "--freeze", "stem,layer1", "--unfreeze-at", UNFREEZE)
    every += ("--lr-factor", "backbone=0.5,head=2", "--layer-decay", 0.9, "--lr", 0.01)
    every += ("--people-per-batch", 3, "--images-per-person", 2, "--max-steps", STEPS)
    every += ("--images", tiny_faces, "--pairs", pairs_file, "--val-every", 2)
    every += ("--keep-best", "auc", "--stop-after", STEPS)
    every += ("--checkpoint-every", 1, "--keep-checkpoints", STEPS)
    printed("train", *arguments(backend, tiny_faces, whole, *every))
    first = cut_back(whole, UNFREEZE - 1, tmp_path / "first")
    printed("train", "--output", first, "--resume", "--backend", other)
    second = cut_back(first, UNFREEZE + 2, tmp_path / "second")
    printed("train", "--output", second, "--resume", "--backend", backend)
    for run in (first, second):
        assert find_best(run / "checkpoints") == find_best(whole / "checkpoints")
        np.testing.assert_allclose(losses(run), losses(whole), rtol=1e-5)
        assert_same_end(whole, run, rtol=1e-4, atol=1e-5)
