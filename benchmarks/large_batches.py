"""Memory and time of a training step in one go, in micro-batches, and with recomputed activations.

python benchmarks/large_batches.py --backend torch --backbone iresnet18 --batch 32
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import typer
from harness import memory, run, show, write
from learners import learner

from marginface.backend import load_backend

WAYS = {
    "in one go": {},
    "2 micro-batches": {"accumulation": 2},
    "8 micro-batches": {"accumulation": 8},
    "recomputed": {"recompute": True},
    "8 micro-batches, recomputed": {"accumulation": 8, "recompute": True},
}
CLASSES = 1000


def main(
    backend: str = "torch",
    backbone: str = "iresnet18",
    batch: int = 32,
    rounds: int = 2,
    steps: int = 3,
    threads: int = 2,
    output: Path | None = None,
) -> None:
    """Measure every way in a process of its own, in turns."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, options in WAYS.items():
            given = json.dumps([backend, backbone, batch, steps, threads, options])
            found[way].append(run(__file__, "one", given))
    base = statistics.median(seconds for seconds, _ in found["in one go"])
    rows = []
    for way, measured in found.items():
        seconds = statistics.median(each for each, _ in measured)
        peak = statistics.median(each for _, each in measured)
        rows.append((way, f"{seconds:.2f}", f"{seconds / base:.2f}", f"{peak:.0f}"))
    title = f"step of {batch} images, {backbone}, {backend}"
    show(title, ["way"], ["seconds", "of one go", "MB above the model"], rows)
    write(output, batch=batch, backbone=backbone, backend=backend, measured=found)


def one(given: str) -> None:
    """Measure one way: seconds of a step, and the most memory above that of the model."""
    backend, backbone, batch, steps, threads, options = json.loads(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 112, 112, 3), np.uint8)
    labels = rng.integers(0, CLASSES, batch)
    made = learner(load_backend(backend), backbone, CLASSES, threads=threads, **options)
    before = memory("VmRSS")
    seconds = []
    for _ in range(1 + steps):
        started = time.perf_counter()
        made.step(images, labels, 0.01, {})
        seconds.append(time.perf_counter() - started)
    print(json.dumps([statistics.median(seconds[1:]), (memory("VmHWM") - before) / 1e6]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2])
    else:
        typer.run(main)
