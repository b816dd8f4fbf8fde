"""What the parts of gpu.py share: turns that wait for the device, its memory, and one line of JSON.

A part is a script that gpu.py starts in a process of its own: `python PART.py DEVICE SIZES`, where
SIZES is JSON. It prints progress as it likes and its result, JSON, as the last line.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from marginface.benchmarking import Work, interleave

OUT_OF_MEMORY = "out of memory"


def given() -> tuple[torch.device, dict[str, Any]]:
    """Return the device and the sizes that a part was started with."""
    return torch.device(sys.argv[1]), json.loads(sys.argv[2])


def synchronised(work: Callable[[], Any], device: torch.device) -> Work:
    """Return work that ends when the device has done it."""

    def whole() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def peak(work: Work, device: torch.device) -> int | None:
    """Return the bytes at the highest point of some work above those before; None on a CPU."""
    if device.type != "cuda":
        work()
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def measure(
    rivals: Mapping[str, Callable[[], Any]], device: torch.device, *, rounds: int
) -> dict[str, Any]:
    """Return seconds of each round and the peak memory of each rival, which take turns.

    A rival that runs out of the device's memory says so and leaves the turns.
    """
    works, found = {}, {}
    for name, work in rivals.items():
        try:
            found[name] = {"bytes": peak(synchronised(work, device), device)}
            works[name] = synchronised(work, device)
        except torch.OutOfMemoryError:
            found[name] = {"failed": OUT_OF_MEMORY}
            torch.cuda.empty_cache()
    for name, seconds in interleave(works, rounds=rounds, repeats=1, warm_up=2).items():
        found[name]["seconds"] = seconds
    return found


def median(measured: Mapping[str, Any]) -> float:
    """Return the typical seconds of a rival."""
    return statistics.median(measured["seconds"])


def finish(result: Mapping[str, Any]) -> None:
    """Print the result."""
    print(json.dumps(result))
