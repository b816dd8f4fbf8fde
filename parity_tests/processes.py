"""Starting a program once a process, as `marginface train --processes` does."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from frameworks import DEVICE, installed

from marginface.training.processes.launching import environments


def gpus() -> int:
    """Return how many GPUs the tests compute on."""
    if DEVICE == "cpu":
        return 0
    devices = import_module(f"marginface_{installed()[0]}.devices").devices()
    return sum(name.startswith("cuda") for name in devices)


def own_gpu() -> None:
    """Let PyTorch compute on the GPU of this process, which has joined, if `run_all` shows any."""
    import torch

    if torch.cuda.is_available():
        torch.set_default_device("cuda")


def run_all(command: list[Any], count: int) -> None:
    """Run a Python program in so many processes that find each other; all must succeed.

    They share no GPU: where there are too few, they compute on the CPU.
    """
    hidden = {} if gpus() >= count else {"CUDA_VISIBLE_DEVICES": ""}
    with TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                env={**os.environ, **environment, **hidden, "TF_CPP_MIN_LOG_LEVEL": "3"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for environment in environments(count, Path(folder))
        ]
        try:
            for each in running:
                _, errors = each.communicate(timeout=1200)
                assert each.returncode == 0, errors[-3000:]
        finally:
            for each in running:
                each.kill()
