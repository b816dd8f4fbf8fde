"""What the parts of gpu.py share: turns that wait for the device, its memory, and lines of JSON.

A part is a script that gpu.py starts in a process of its own: `python PART.py DEVICE SIZES`, where
SIZES is JSON. Whenever it has found something it prints all that it has as one line of JSON. So
what it found before its time was up is kept.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "torch_impl"))
sys.path.insert(0, str(Path(__file__).parents[1] / "core"))  # marginface need not be installed

from marginface.benchmarking import Work, interleave
from marginface.errors import MissingPackageError

OUT_OF_MEMORY = "out of memory"


class Skipped(Exception):
    """A part cannot be measured here; the message says what is missing."""


def start(main: Callable[[torch.device, dict[str, Any]], None]) -> None:
    """Run a part on the device and with the sizes that it was started with.

    A package that it imports in `main` may be missing: then it is skipped.
    """
    try:
        main(torch.device(sys.argv[1]), json.loads(sys.argv[2]))
    except (Skipped, ModuleNotFoundError, MissingPackageError) as error:
        tell({"skipped": str(error)})


def tell(result: Mapping[str, Any]) -> None:
    """Print all that was found so far."""
    print(json.dumps(result), flush=True)


def synchronised(work: Callable[[], Any], device: torch.device) -> Work:
    """Return work that ends when the device has done it."""

    def whole() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def peak(work: Work, device: torch.device, clear: Callable[[], None]) -> int | None:
    """Return the bytes of a step at its highest point; None on a CPU.

    What stays from step to step does not count, whoever allocates it: weights, an optimizer's
    slots, a library's workspace. Gradients count, also those that the last step left.

    Args:
        work: one step.
        device: what it computes on.
        clear: frees gradients.
    """
    work()  # allocates what stays
    clear()
    if device.type != "cuda":
        work()
        return None
    before = torch.cuda.memory_allocated(device)
    work()  # leaves its gradients, as in a loop
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def measure(
    result: dict[str, Any],
    kind: str,
    rivals: Mapping[str, Callable[[], Any]],
    device: torch.device,
    *,
    rounds: int,
    clear: Callable[[], None],
) -> None:
    """Find the peak memory of rivals, and seconds in rounds of turns; tell after each.

    A rival that runs out of the device's memory says so and leaves the turns.

    Args:
        result: what is told; the figures go to `result[kind]`.
        kind: of what they measure.
        rivals: their steps.
        device: what they compute on.
        rounds: turns of each.
        clear: frees the gradients of all.
    """
    found: dict[str, dict[str, Any]] = {}
    result[kind] = found
    works = {}
    for name, step in rivals.items():
        work = synchronised(step, device)
        try:
            found[name] = {"bytes": peak(work, device, clear)}
            works[name] = work
        except torch.OutOfMemoryError:
            found[name] = {"failed": OUT_OF_MEMORY}
        clear()
        if "failed" in found[name]:
            torch.cuda.empty_cache()
        tell(result)
    for _ in range(rounds):  # all are warm
        for name, seconds in interleave(works, rounds=1, repeats=1, warm_up=0).items():
            found[name].setdefault("seconds", []).extend(seconds)
        tell(result)


def median(measured: Mapping[str, Any]) -> float:
    """Return the typical seconds of a rival."""
    return statistics.median(measured["seconds"])
