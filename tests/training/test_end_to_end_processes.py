"""`marginface train` in several real processes, with the real frameworks."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from children import children
from sockets import listeners

from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.training.processes.launching import environments

COMMAND = [sys.executable, "-m", "marginface.cli.main", "train"]
MODEL = ["--backbone", "mobilefacenet", "--embedding-size", "16", "--loss", "arcface"]
REST = ["--scale", "8", "--batch-size", "6", "--lr", "1e-4", "--log-every", "1"]
SECONDS = 300
BACKENDS = [
    pytest.param("torch", "torch", id="torch"),
    pytest.param("tf", "tensorflow", id="tf", marks=pytest.mark.slow),  # each start traces
]


def arguments(backend: str, faces: Path, output: Path, *more: Any) -> list[str]:
    given = ["--backend", backend, "--data", faces, "--output", output, *more]
    return [*COMMAND, *MODEL, *REST, *map(str, given)]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


@pytest.mark.parametrize(("backend", "module"), BACKENDS)
def test_two_processes_train_as_one_does(printed, backend, module, tiny_faces, tmp_path):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"backend {backend} is not installed")
    given = ("--max-steps", 3, "--sample-rate", 0.99, "--processes")
    one = arguments(backend, tiny_faces, tmp_path / "one", *given, 1)
    two = arguments(backend, tiny_faces, tmp_path / "two", *given, 2)
    printed(*one[len(COMMAND) - 1 :])  # "train" and so on, in this process
    subprocess.run(two, check=True, timeout=SECONDS)
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(first) == 3
    assert second == pytest.approx(first, rel=1e-3)  # float32, as in parity_tests/test_training.py
    # What two left, one goes on with: the checkpoint has every class.
    path = latest_checkpoint(tmp_path / "two" / "checkpoints")
    assert path is not None
    assert load_checkpoint(path).state["head.weight"].shape == (3, 16)
    again = ("train", "--output", tmp_path / "two", "--resume", "--processes", 1)
    printed(*again, "--max-steps", 4)
    assert len(losses(tmp_path / "two")) == 4


@pytest.mark.parametrize(("backend", "module"), BACKENDS)
def test_a_run_is_this_machines_alone_and_ends_with_a_killed_process(
    backend, module, tiny_faces, tmp_path
):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"backend {backend} is not installed")
    run = tmp_path / "run"
    given = ("--max-steps", 100_000, "--processes", 2)
    with subprocess.Popen(
        arguments(backend, tiny_faces, run, *given), stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            wait_for(lambda: (run / "metrics.jsonl").is_file() and len(losses(run)) > 1)
            running = children(started.pid)
            open_to_others = [
                listener
                for each in running
                for listener in listeners(each)
                if not listener.is_of_this_machine
            ]
            victim = min(running)
            os.kill(victim, signal.SIGKILL)
            _, said = started.communicate(timeout=60)
        finally:
            started.kill()
    assert open_to_others == []
    assert started.returncode == 1
    assert "of 2 was killed by signal 9 (SIGKILL); the others were ended" in said
    assert said.splitlines()[-1].endswith(f"continue: marginface train --output {run} --resume")
    wait_for(lambda: not children(started.pid))


def test_another_configuration_is_named_by_all(tiny_faces, tmp_path):
    pytest.importorskip("torch")
    running = []
    for rank, environment in enumerate(environments(2, tmp_path)):
        changed = ("--weight-decay", 0.1) if rank else ()
        given = arguments("torch", tiny_faces, tmp_path / "run", "--max-steps", 2, *changed)
        running.append(
            subprocess.Popen(
                given, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
            )
        )
    said = [each.communicate(timeout=60)[1] for each in running]
    assert [each.returncode for each in running] == [2, 2]
    wanted = "process 1 has weight_decay 0.1, process 0 has weight_decay 0.0005; "
    assert wanted in said[0]
    assert said[1] == ""  # process 0 has said it
    assert not (tmp_path / "run").exists()


def test_a_share_must_be_whole(tiny_faces, tmp_path):
    done = subprocess.run(
        arguments("torch", tiny_faces, tmp_path / "run", "--processes", 4),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "batch" in line
    assert "4" in line
    assert not (tmp_path / "run").exists()


def wait_for(condition: Any) -> None:
    ending = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ending, "it never came true"
        time.sleep(0.1)
