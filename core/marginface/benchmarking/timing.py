"""Timing of rivals side by side: warmed up, interleaved, as ratios within one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

Work = Callable[[], object]
STATUS = Path("/proc/self/status")  # Linux tells; others do not
PACKAGES = (
    *("torch", "tensorflow-cpu", "tensorflow", "keras", "onnxruntime", "onnxruntime-gpu"),
    "numpy",
)


def interleave(
    rivals: Mapping[str, Work], *, rounds: int, repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Return seconds of one call of each rival, one value a round, taking turns in every round.

    Turns cancel what a shared machine does in the meantime: only ratios of one round count.
    """
    for work in rivals.values():
        for _ in range(warm_up):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, work in rivals.items():
            started = time.perf_counter()
            for _ in range(repeats):
                work()
            seconds[name].append((time.perf_counter() - started) / repeats)
    return seconds


def ratios(seconds: Mapping[str, list[float]], base: str, rival: str) -> tuple[float, float, float]:
    """Return `base` time over `rival` time: median, smallest and largest of the rounds."""
    quotients = [a / b for a, b in zip(seconds[base], seconds[rival], strict=True)]
    return statistics.median(quotients), min(quotients), max(quotients)


def memory(key: str) -> int:
    """Return bytes of this process's memory on Linux: VmRSS; VmHWM, the most; RssAnon, its own."""
    return 1024 * int(STATUS.read_text().split(f"{key}:")[1].split()[0])


def machine() -> dict[str, object]:
    """Describe the machine and software that the figures depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
