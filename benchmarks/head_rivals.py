"""Heads that take the same batch: one step of each, what it found, and the memory it takes.

python benchmarks/head_rivals.py torch ours 128 100000 float32 5    # in a fresh process
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import memory, run
from numpy.typing import NDArray

from marginface.benchmarking.losses import EMBEDDING_SIZE
from marginface.optimizers import SGD, AdamW

SIZE, THREADS = EMBEDDING_SIZE, 2
RATES = {"sgd": 0.1, "adamw": 1e-3}  # of learning, by the optimizer
Found = tuple[float, NDArray[Any], NDArray[Any]]  # the loss, gradients of embeddings and of rows


@dataclass
class Rival:
    """One way to take a step.

    Args:
        step: forward and backward, and the update where there is one; returns the loss.
        evaluate: takes rows, returns the loss and the gradients of embeddings and of those rows.
        weight: what others may share.
    """

    step: Callable[[], float]
    evaluate: Callable[[NDArray[np.int64]], Found] | None
    weight: Any


class Step(NamedTuple):
    """What the name of a rival that takes whole steps says.

    Args:
        optimizer: of the class weights.
        inside: whether they are stepped in the backward pass.
        share: of the classes.
    """

    optimizer: SGD | AdamW
    inside: bool
    share: float


def step_of(name: str) -> Step | None:
    """Return what "update", "adamw sampled 0.3" and so on mean; None for gradients alone."""
    kind, _, share = name.removeprefix("adamw ").partition(" ")
    if kind not in ("optimizer", "update", "sampled"):
        return None
    optimizer = AdamW() if name.startswith("adamw") else SGD()
    return Step(optimizer, kind != "optimizer", float(share or 1))


def build(
    backend: str,
    name: str,
    batch: int,
    classes: int,
    *,
    dtype: str = "float32",
    weight: Any = None,
    block: int | None = None,
) -> Rival:
    """Return a rival with weights of its own, or with those given."""
    module = importlib.import_module(f"head_{backend}")
    rival: Rival = module.build(name, batch, classes, dtype, weight, block)
    return rival


@dataclass(frozen=True)
class Measured:
    """What a process of its own took.

    Args:
        seconds: of each step but the first.
        memory: bytes that the process grows by, from libraries loaded and used once to the highest
            point of any step, less class weights and their gradient or, where weights are stepped,
            their momentum or moments. What a framework keeps from making the weights counts.
        peak: bytes of the whole process at that point.
    """

    seconds: list[float]
    memory: int
    peak: int


def measure(
    backend: str, name: str, batch: int, classes: int, *, dtype: str = "float32", steps: int = 2
) -> Measured:
    """Measure a rival in a process of its own."""
    arguments = (backend, name, batch, classes, dtype, steps)
    # TensorFlow's allocator sets itself a limit below what the machine has.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_MKL_ALLOC_MAX_BYTES": str(2**36)}
    return Measured(**run(__file__, *arguments, **environment))


def needed(name: str, batch: int, classes: int, dtype: str = "float32") -> int:
    """Return about how many bytes a process with this rival takes at its peak."""
    rows = classes * SIZE * (2 if dtype == "bfloat16" else 4)
    if step := step_of(name):
        return rows * (2 + len(step.optimizer.slots) - step.inside) + 2**30
    copies = {"dense": 4, "dense jit": 2.5, "pytorch-metric-learning": 4}
    arrays = {"dense": 4, "dense jit": 1, "pytorch-metric-learning": 4, "products": 1}
    logits = arrays.get(name, 0) * batch * classes * 4
    return int(copies.get(name, 2) * rows + logits) + 2**30


def available() -> int:
    """Return the bytes that the machine has left."""
    text = Path("/proc/meminfo").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if "MemAvailable" in line) << 10


def _in_this_process(
    backend: str, name: str, batch: int, classes: int, dtype: str, steps: int
) -> Measured:
    # What libraries allocate once: threads, compilers. Several blocks, as the real one has them.
    build(backend, name, batch, 1000, dtype=dtype, block=400).step()
    before = memory("VmRSS")
    rival = build(backend, name, batch, classes, dtype=dtype)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    seconds = []
    for _ in range(1 + steps):
        started = time.perf_counter()
        if not np.isfinite(rival.step()):
            raise SystemExit("the loss is not finite")
        seconds.append(time.perf_counter() - started)
    step = step_of(name)
    arrays = 1 + (len(step.optimizer.slots) if step else 1)
    held = arrays * classes * SIZE * (2 if dtype == "bfloat16" else 4)
    peak = memory("VmHWM")
    return Measured(seconds[1:], peak - before - held, peak)


if __name__ == "__main__":
    backend_, name_, batch_, classes_, dtype_, steps_ = sys.argv[1:]
    measured = _in_this_process(backend_, name_, int(batch_), int(classes_), dtype_, int(steps_))
    print(json.dumps(asdict(measured)))
