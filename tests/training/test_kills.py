"""Runs that are killed at any moment, in the real frameworks, end as those that are not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import record

from marginface.runs.checkpoints import list_checkpoints, read_record

pytestmark = pytest.mark.slow
KILLS, STEPS, SECONDS = 15, 60, 300
COMMAND = [sys.executable, "-m", "marginface.cli.main", "train"]
OPTIONS = [
    *("--backbone", "mobilefacenet", "--embedding-size", 16, "--loss", "arcface", "--scale", 8),
    *("--people-per-batch", 3, "--images-per-person", 2, "--augment", "flip,crop", "--lr", 0.01),
    *("--max-steps", STEPS, "--val-every", 4, "--checkpoint-every", 5, "--log-every", 3),
    *("--keep-best", "tar@1e-1", "--stop-after", STEPS, "--keep-checkpoints", 2),
    *("--threads", 1, "--compile", "off"),
]


def start(*given: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *map(str, given)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def kill_within(started: subprocess.Popen[bytes], run: Path, seconds: float) -> None:
    """Kill a run so many seconds after its first new line of metrics, or in its start."""
    before, ending = size(run), time.monotonic() + SECONDS
    while seconds > 0 and size(run) == before and started.poll() is None:
        assert time.monotonic() < ending
        time.sleep(0.01)
    time.sleep(abs(seconds))
    started.kill()
    started.wait()


def size(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.stat().st_size if metrics.exists() else 0


def contents(run: Path) -> dict[str, Any]:
    """Return everything that a run leaves and that another run like it must leave, too."""
    checkpoints = list_checkpoints(run / "checkpoints")
    return {
        "records": record(run),
        "extra": {path.name: read_record(path).extra for path in checkpoints},
        **{path.name: (path / "state.safetensors").read_bytes() for path in checkpoints},
    }


@pytest.mark.parametrize(("backend", "module"), [("torch", "torch"), ("tf", "tensorflow")])
def test_balanced_batches_and_the_best_survive_kills(
    backend: str, module: str, tiny_faces: Path, pairs_file: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"backend {backend} is not installed")
    data = ["--backend", backend, "--data", tiny_faces, "--images", tiny_faces]
    new = [*data, "--pairs", pairs_file, *OPTIONS]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(*new, "--output", whole).wait(SECONDS) == 0

    moments = np.random.default_rng(20).uniform(-1, 1.5, KILLS)  # below 0: in the start
    for seconds in moments:
        more = ["--resume"] if (killed / "config.yaml").exists() else new
        kill_within(start(*more, "--output", killed), killed, float(seconds))
    more = ["--resume"] if (killed / "config.yaml").exists() else new
    assert start(*more, "--output", killed).wait(SECONDS) == 0
    assert contents(killed) == contents(whole)
