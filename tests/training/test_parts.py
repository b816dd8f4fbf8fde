"""Runs with frozen parts end as without the stop, wherever they are stopped."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marginface import backbones
from marginface.backbones import IMAGES, Graph
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint

COMMAND = [sys.executable, "-m", "marginface.cli.main", "train"]
SMALL = ("--embedding-size", 16, "--batch-size", 6, "--scale", 8)
REST = ("--threads", 1, "--log-every", 1, "--compile", "off")
PARTS = (
    "--backbone",
    "mobilefacenet",
    "--freeze",
    "stem,blocks.3,conv2",
    "--lr-factor",
    "backbone=0.5,head=2",
)
DECAY = ("--layer-decay", 0.9)
MODULES = {"torch": "torch", "tf": "tensorflow"}
STEPS, UNFREEZE, SECONDS = 8, 4, 300


def arguments(backend: str, faces: Path, output: Path, *more: Any) -> list[Any]:
    if importlib.util.find_spec(MODULES[backend]) is None:
        pytest.skip(f"backend {backend} is not installed")
    return ["--backend", backend, "--data", faces, "--output", output, *SMALL, *REST, *more]


def losses(run: Path) -> list[float]:
    """Return each step's; a line may be of a step that was repeated."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    by_step = {line["step"]: line["loss"] for line in lines}
    assert sorted(by_step) == list(range(1, STEPS + 1))
    return [by_step[step] for step in sorted(by_step)]


def assert_same_end(first: Path, second: Path, **close: float) -> None:
    ends = [load_checkpoint(latest_checkpoint(run / "checkpoints")) for run in (first, second)]
    assert ends[0].step == ends[1].step
    assert ends[0].state.keys() == ends[1].state.keys()
    for name, value in ends[0].state.items():
        np.testing.assert_allclose(ends[1].state[name], value, **close, err_msg=name)


def patches(graph: Graph, _: float) -> None:
    """Take little time."""
    x = graph.batch_norm("norm", graph.conv("stem", IMAGES, 4, 16, stride=16))
    graph.linear("fc", graph.flatten(x), graph.embedding_size, bias=False)


backbones.register_backbone("patches", patches)


@pytest.mark.parametrize("backend", ["torch", pytest.param("tf", marks=pytest.mark.slow)])
def test_parts_may_learn_from_a_resumption_on(printed, refusal, backend, tiny_faces, tmp_path):
    """As if the step had been given at first, though the checkpoint has no slots of them."""
    given = ("--backbone", "patches", "--freeze", "stem,norm", "--checkpoint-every", 2)
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


def killed(command: list[str], run: Path, lines: int, delay: float) -> None:
    """Start a run, and kill it a moment after it has so many lines of metrics."""
    metrics = run / "metrics.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end:
            if metrics.is_file() and len(metrics.read_text().splitlines()) >= lines:
                time.sleep(delay)
                break
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("backend", MODULES)
@pytest.mark.parametrize("then", ["same", "other"])
def test_a_killed_run_ends_as_if_it_had_not_been(backend, then, tiny_faces, tmp_path):
    """Before, at and after the step from which all parts learn; in the other framework, too."""
    other = next(name for name in MODULES if name != backend)
    # Larger rates magnify float32 rounding, as in parity_tests/test_training.py.
    more = ("--max-steps", STEPS, "--unfreeze-at", UNFREEZE, *PARTS, *DECAY, "--lr", 1e-4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    given = arguments(backend, tiny_faces, whole, *more, "--checkpoint-every", 1)
    subprocess.run([*COMMAND, *map(str, given)], check=True, timeout=SECONDS)
    given = arguments(backend, tiny_faces, cut, *more, "--checkpoint-every", 1)
    command = [*COMMAND, *map(str, given)]
    rng = random.Random(0)
    resumptions = iter([backend, other] if then == "other" else [backend] * 4)
    for lines in (2, 7) if then == "other" else (1, UNFREEZE - 1, UNFREEZE, UNFREEZE + 2):
        killed(command, cut, lines, rng.uniform(0, 0.3))
        following = ("--output", cut, "--resume", "--backend", next(resumptions))
        command = [*COMMAND, *map(str, following)]
    subprocess.run(command, check=True, timeout=SECONDS)
    if then == "same":
        assert_same_end(whole, cut, rtol=0)
    np.testing.assert_allclose(losses(cut), losses(whole), rtol=1e-3)
