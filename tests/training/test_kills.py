"""Fine-tuning that is killed at any moment, in the real frameworks, ends as without the kills."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import patches
import pytest
from children import children
from runs import record

from marginface.runs.best import best_of
from marginface.runs.checkpoints import list_checkpoints, read_record
from marginface.training.best import stalled

MODULES = {"torch": "torch", "tf": "tensorflow"}
SECONDS = 1200  # for a run
LONGEST, UNFREEZE, STOP_AFTER = 300, 25, 8  # it ends at about step 60
COMMAND = [sys.executable, patches.__file__, "train"]
PARTS = {"tiny_patches": "stem,layer1,features", "mobilefacenet": "stem,blocks.3,conv2"}
SMALL = ("--embedding-size", 16, "--crop", "24,24,64,64", "--scale", 8, "--threads", 1)
EVERYTHING = [
    *("--augment", "flip,crop", "--people-per-batch", 3, "--images-per-person", 2),
    *("--lr-factor", "backbone=0.5,head=2", "--layer-decay", 0.9, "--dropout", 0.1),
    *("--keep-best", "auc", "--keep-checkpoints", 2),
]
LONG = [
    *("--max-steps", LONGEST, "--unfreeze-at", UNFREEZE, "--stop-after", STOP_AFTER),
    *("--val-every", 6, "--checkpoint-every", 5, "--log-every", 2),
]
LARGE = ("--precision", "float16", "--accumulation", 2, "--recompute")
# Larger rates magnify float32 rounding, as in parity_tests/test_training.py.
STEPS = 12
SHORT = [
    *("--lr", 1e-4, "--max-steps", STEPS, "--unfreeze-at", 6, "--stop-after", 9),
    *("--val-every", 4, "--checkpoint-every", 1, "--log-every", 1),
]


class Run:
    """A run in a folder, as a user starts and resumes it."""

    def __init__(self, path: Path, *new: Any) -> None:
        self.path, self.new = path, new

        self.backend = new[new.index("--backend") + 1]

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, or resume it once there is something to resume."""
        given = self.new
        if (self.path / "config.yaml").exists():
            given = ("--resume", "--backend", self.backend)
        command = [*COMMAND, "--output", self.path, *given]
        return subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)

    def finish(self) -> None:
        assert self.start().wait(SECONDS) == 0

    def kill_at(self, step: int, delay: float = 0.0) -> None:
        """Go on and kill all its processes once a step is logged; for 0, as it begins to write."""
        before, ending = self._metrics(), time.monotonic() + SECONDS
        started = self.start()
        while started.poll() is None and not (
            self._last_logged() >= step > 0 or (step == 0 and self._metrics() != before)
        ):
            assert time.monotonic() < ending
            time.sleep(0.005)
        time.sleep(delay)
        for process in (*children(started.pid), started.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        started.wait()

    def _metrics(self) -> Any:
        """Return what changes as a start makes the folder, or cuts the metrics back."""
        metrics = self.path / "metrics.jsonl"
        return self.path.exists(), metrics.exists() and metrics.stat().st_ino

    def _last_logged(self) -> int:
        lines = record(self.path)
        return lines[-1]["step"] if lines else 0

    def losses(self) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in record(self.path) if "loss" in line}

    def contents(self) -> dict[str, Any]:
        """Return everything that it leaves and that another run like it must leave, too."""
        paths = list_checkpoints(self.path / "checkpoints")
        return {
            "records": record(self.path),
            "extra": {path.name: read_record(path).extra for path in paths},
            "arrays": {
                f"{path.name}/{file.name}": file.read_bytes()
                for path in paths
                for file in path.glob("*.safetensors")
            },
        }


@pytest.fixture(params=MODULES)
def backend(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(MODULES[request.param]) is None:
        pytest.skip(f"backend {request.param} is not installed")
    return str(request.param)


@pytest.fixture
def given(
    backend: str, tiny_faces: Path, pairs_file: Path, tmp_path: Path
) -> Callable[..., list[Any]]:
    """Return what gives a run's options: every way to fine-tune, from a run that is there."""

    def options(network: str, compiling: str = "off") -> list[Any]:
        data = ["--backend", backend, "--data", tiny_faces, "--backbone", network, *SMALL]
        data += ["--compile", compiling]
        first = Run(tmp_path / "first", *data, "--batch-size", 6, "--max-steps", 2)
        first.finish()
        more = ["--images", tiny_faces, "--pairs", pairs_file, "--init-head", "centers"]
        return [*data, *more, "--init", first.path, "--freeze", PARTS[network], *EVERYTHING]

    return options


def assert_same_losses(found: Run, expected: Run) -> None:
    found.finish()
    expected.finish()
    ours, theirs = found.losses(), expected.losses()
    assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-3)


def test_a_kill_in_small(tiny_faces: Path, tmp_path: Path) -> None:
    """In float16, by micro-batches, recomputed: what CI has time for."""
    backend = next((name for name in MODULES if importlib.util.find_spec(MODULES[name])), None)
    if backend is None:
        pytest.skip("no framework is installed")
    new = ["--backend", backend, "--data", tiny_faces, "--backbone", "tiny_patches", *SMALL]
    new += ["--compile", "off", "--batch-size", 6, "--max-steps", 9, "--lr", 0.01, *LARGE]
    new += ["--checkpoint-every", 2, "--log-every", 1]
    whole, killed = (Run(tmp_path / name, *new) for name in ("whole", "killed"))
    whole.finish()
    killed.kill_at(5)
    killed.finish()
    assert killed.contents() == whole.contents()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "compiling", "kills", "more"),
    [
        ("tiny_patches", "off", 15, ("--lr", 0.01)),
        ("tiny_patches", "on", 4, ("--lr", 0.01)),
        ("mobilefacenet", "off", 4, ("--lr", 0.01)),
        ("tiny_patches", "off", 25, ("--lr", 0.01, *LARGE)),
        ("tiny_patches", "off", 4, ("--lr", 0.001, "--optimizer", "adamw", "--processes", 2)),
    ],
    ids=["often", "compiled", "a real network", "micro-batches", "two processes"],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    backend: str,
    given: Callable[..., list[Any]],
    network: str,
    compiling: str,
    kills: int,
    more: tuple[Any, ...],
    tmp_path: Path,
) -> None:
    if compiling == "on" and (backend != "torch" or shutil.which("g++") is None):
        pytest.skip("PyTorch alone compiles, and needs g++")
    new = [*given(network, compiling), *LONG, *more]
    whole, killed = (Run(tmp_path / name, *new) for name in ("whole", "killed"))
    whole.finish()
    last = read_record(list_checkpoints(whole.path / "checkpoints")[-1])
    assert UNFREEZE < last.step < LONGEST
    assert stalled(best_of(last), STOP_AFTER)

    rng = np.random.default_rng(20)
    # The first two are before there is a checkpoint; 0 is in a start.
    moments = [0, 2, *sorted(rng.integers(3, last.step, kills - 2).tolist())]
    moments[4::4] = [0] * len(moments[4::4])
    for step in moments:
        killed.kill_at(step, float(rng.uniform(0, 0.3)) if step > 2 else 0.0)
    killed.finish()
    assert killed.contents() == whole.contents()


@pytest.mark.slow
def test_two_processes_train_as_one_does(given: Callable[..., list[Any]], tmp_path: Path) -> None:
    new = [*given("tiny_patches"), *SHORT]
    one, two = Run(tmp_path / "one", *new), Run(tmp_path / "two", *new, "--processes", 2)
    assert_same_losses(two, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [(), ("--accumulation", 2, "--recompute")], ids=["at once", "micro-batches"]
)
def test_the_other_framework_goes_on_and_hands_back(
    backend: str, given: Callable[..., list[Any]], more: tuple[Any, ...], tmp_path: Path
) -> None:
    """While parts are frozen, which then learn there; and after that."""
    (other,) = MODULES.keys() - {backend}
    if importlib.util.find_spec(MODULES[other]) is None:
        pytest.skip(f"backend {other} is not installed")
    new = [*given("mobilefacenet"), *SHORT, *more]
    whole, handed = (Run(tmp_path / name, *new) for name in ("whole", "handed"))
    handed.kill_at(3)
    handed.backend = other
    handed.kill_at(8)
    handed.backend = backend
    assert_same_losses(handed, whole)
