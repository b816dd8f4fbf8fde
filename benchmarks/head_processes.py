"""A head's classes in one process with two threads, and shared by two with one thread each.

python benchmarks/head_processes.py --backend all --classes 100000,1000000
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import typer
from harness import memory, show

from marginface.backend import load_backend
from marginface.heads import Shard
from marginface.optimizers import SGD
from marginface.training.processes.launching import environments

BATCH, SIZE, CORES = 128, 512, 2
WORKER = "--worker"


def main(
    backend: str = "all", classes: str = "100000,1000000", steps: int = 7, rounds: int = 3
) -> None:
    """Time steps of a head that steps its own weights, and take each process's memory."""
    for each in ("torch", "tf") if backend == "all" else (backend,):
        for number in map(int, classes.split(",")):
            compare(each, number, steps, rounds)


def compare(backend: str, classes: int, steps: int, rounds: int) -> None:
    """Print a table of one size; one process and two take turns."""
    runs_of: dict[int, list[list[Any]]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, runs in runs_of.items():
            runs.append(start(backend, classes, steps, count))
    rows = []
    for count, runs in runs_of.items():
        seconds = [max(process["seconds"] for process in run) for run in runs]
        shares = [
            max(p["seconds"] for p in one) / max(p["seconds"] for p in run)
            for one, run in zip(runs_of[1], runs, strict=True)
        ]
        memory = ", ".join(f"{process['peak'] / 1e6:.0f}" for process in runs[-1])
        ratio = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        rows.append((count, f"{statistics.median(seconds):.2f}", ratio, memory))
    losses = {
        f"{process['loss']:.3f}" for runs in runs_of.values() for run in runs for process in run
    }
    if len(losses) > 1:
        raise SystemExit(f"{backend}: the processes disagree on the loss: {sorted(losses)}")
    columns = ("processes", "s a step", "times as fast", "MB a process, weights and all")
    show(f"{backend}, batch {BATCH}, {classes:,} classes", (), columns, rows)


def start(backend: str, classes: int, steps: int, count: int) -> list[dict[str, Any]]:
    """Run all processes of one run; return the figures of each."""
    command = [sys.executable, __file__, WORKER, backend, str(classes), str(steps)]
    threads = str(CORES // count)
    with TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                command,
                env={**os.environ, **environment, "OMP_NUM_THREADS": threads},
                stdout=subprocess.PIPE,
                text=True,
            )
            for environment in environments(count, Path(folder))
        ]
        return [json.loads(each.communicate()[0].splitlines()[-1]) for each in running]


def work(backend: str, classes: int, steps: int) -> dict[str, Any]:
    """Take the steps of one process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    framework, rng = load_backend(backend), np.random.default_rng(0)
    x = rng.normal(size=(BATCH, SIZE)).astype(np.float32)[rank::size]
    labels = rng.integers(0, classes, BATCH)[rank::size]
    group: Any = framework.join(threads=int(os.environ["OMP_NUM_THREADS"]))
    shard = Shard(rank, size) if size > 1 else None
    head = framework.MarginHead("cosface", SIZE, classes, update=SGD(), shard=shard)
    head.rate = 0.0  # so that any number of processes finds one loss
    step = (_in_torch if backend == "torch" else _in_tf)(group, head, x, labels)
    step()
    loss = np.array(group.exchange(f"{step():.6f}"), float).mean()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return {"loss": float(loss), "seconds": median, "peak": memory("VmHWM")}


def _in_torch(group: Any, head: Any, x: Any, labels: Any) -> Any:
    import torch

    del group
    torch.manual_seed(0)
    with torch.no_grad():  # every class alike in every run: from its number
        numbers = torch.arange(head.classes.start, head.classes.stop)[:, None]
        head.weight.copy_(torch.sin(numbers * (1 + torch.arange(SIZE)) % 1009))
    given, y = torch.tensor(x, requires_grad=True), torch.tensor(labels)

    def step() -> float:
        given.grad = None
        value = head(given, y)
        value.backward()
        return float(value.detach())

    return step


def _in_tf(group: Any, head: Any, x: Any, labels: Any) -> Any:
    import tensorflow as tf

    numbers = np.arange(head.classes.start, head.classes.stop)[:, None]
    head.weight.assign(np.sin(numbers * (1 + np.arange(SIZE)) % 1009).astype(np.float32))
    given, y = tf.constant(x), tf.constant(labels)

    def call() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(given)
            value = head(given, y, training=True)
        tape.gradient(value, given)
        return value

    run = tf.function(lambda: group.strategy.run(call), autograph=False)
    return lambda: float(run())


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        print(json.dumps(work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        typer.run(main)
