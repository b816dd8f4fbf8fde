"""The cost of a loss: forward and backward of a head, beside another loss's and other rivals'.

python -m marginface.benchmarking.losses torch arcface 128 10000    peak memory, in a fresh process
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import losses
from marginface.backend import Backend, load_backend
from marginface.benchmarking.cost import Cost, take_turns
from marginface.benchmarking.timing import STATUS, Work, memory
from marginface.checks import check_distinct
from marginface.errors import MarginfaceError
from marginface.losses.registry import place

BASE = "normface"
EMBEDDING_SIZE = 512


# Makes further rivals of a loss from its name, embeddings, labels and classes.
Rivals = Callable[[str, NDArray[Any], NDArray[Any], int], dict[str, Work]]


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """Read "128x10000,512x10000" as batch and classes.

    >>> parse_sizes("128x10000")
    [(128, 10000)]
    """
    matches = [re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", part.strip()) for part in text.split(",")]
    if None in matches:
        raise MarginfaceError(
            f"--sizes {text}: expected batch x classes such as 128x10000,512x10000"
        )
    check_distinct("size", [each[0] for each in matches if each])
    return [(int(each[1]), int(each[2])) for each in matches if each]


def case_of(batch: int, classes: int) -> str:
    """Name a size.

    >>> case_of(128, 10000)
    'batch 128, 10,000 classes'
    """
    return f"batch {batch}, {classes:,} classes"


def measure(
    backend: str,
    names: Sequence[str],
    batch: int,
    classes: int,
    *,
    rounds: int,
    memory: bool = True,
    threads: int | None = None,
    device: str = "auto",
    rivals: Rivals | None = None,
    base: str = BASE,
) -> list[Cost]:
    """Return the costs of losses and of their rivals, each in turn with the head of `base`.

    Raises:
        RuntimeError: a loss that is not finite.
    """
    framework = load_backend(backend)
    of_base = _step(framework, base, batch, classes, threads, device)
    costs = []
    for name in dict.fromkeys([base, *names]):
        steps = {base: of_base}
        if name != base:
            steps[name] = _step(framework, name, batch, classes, threads, device)
        if rivals is not None:
            steps |= rivals(name, *inputs(batch, classes), classes)
        peaks = {name: peak_memory(backend, name, batch, classes)} if memory else {}
        case = case_of(batch, classes)
        compared = take_turns(backend, case, base, steps, rounds=rounds, memory=peaks)
        costs += [cost for cost in compared if cost.name != base or name == base]
    return costs


def peak_memory(backend: str, name: str, batch: int, classes: int) -> int | None:
    """Return the bytes that a step takes at its peak, measured in a process of its own.

    Raises:
        MarginfaceError: that process cannot compute the loss.
    """
    if not STATUS.exists():
        return None
    command = [sys.executable, "-m", __name__, backend, place(name), str(batch), str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
        reason = reason.removeprefix(f"{MarginfaceError.__module__}.{MarginfaceError.__name__}: ")
        raise MarginfaceError(
            f"{backend}: another process cannot measure the memory of {name}: {reason}; "
            "--no-memory leaves it out"
        )
    return int(done.stdout.split()[-1])


def _step(
    framework: Backend,
    name: str,
    batch: int,
    classes: int,
    threads: int | None = None,
    device: str = "cpu",
) -> Work:
    loss = losses.get(name)
    embeddings, labels = inputs(batch, classes)
    draw = loss.draw(np.random.default_rng(1), batch)
    return framework.loss_step(
        loss, embeddings, labels, classes, draw, threads=threads, device=device
    )


def inputs(batch: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return embeddings [batch, EMBEDDING_SIZE] and labels [batch], the same each time."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(batch, EMBEDDING_SIZE)).astype(np.float32)
    return embeddings, rng.integers(0, classes, batch)


def growth(make: Callable[[int, int], Work], batch: int, classes: int, centers: int = 1) -> int:
    """Return the bytes by which this fresh process grows at the peak of a step.

    Args:
        make: from batch and classes to a step, with weights of its own.
        batch: embeddings in a step.
        classes: class weights, but for centres; they and their gradient do not count.
        centers: of a class.
    """
    make(4, 50)()  # what libraries allocate once
    before = memory("VmRSS")
    step = make(batch, classes)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    step()
    step()
    return memory("VmHWM") - before - 2 * classes * centers * EMBEDDING_SIZE * 4


if __name__ == "__main__":
    losses.load(sys.argv[2])
    made = partial(_step, load_backend(sys.argv[1]), sys.argv[2])
    size = int(sys.argv[3]), int(sys.argv[4])
    print(growth(made, *size, losses.get(sys.argv[2]).num_centers))
