"""Timing of rivals side by side: warmed up, interleaved, as ratios within one run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

Work = Callable[[], object]


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
    """Return how often `rival` fits into `base`: median, smallest and largest of the rounds."""
    each = [a / b for a, b in zip(seconds[base], seconds[rival], strict=True)]
    return statistics.median(each), min(each), max(each)


def report(
    title: str,
    results: Mapping[str, dict[str, list[float]]],
    batch: int,
    base: str,
    output: Path | None,
) -> None:
    """Print images a second and the ratio to `base` for every case; write JSON when asked."""
    table = Table(title=title)
    for column in ("case", "rival", "images/s", "ratio", "smallest", "largest"):
        table.add_column(column, justify="right" if column not in ("case", "rival") else "left")
    for case, seconds in results.items():
        for name, values in seconds.items():
            median, low, high = ratios(seconds, base, name)
            speed = batch / statistics.median(values)
            table.add_row(case, name, f"{speed:.1f}", f"{median:.2f}", f"{low:.2f}", f"{high:.2f}")
    Console(width=110).print(table)
    if output is not None:
        record = {"machine": machine(), "batch": batch, "base": base, "seconds": dict(results)}
        output.write_text(json.dumps(record, indent=1) + "\n")


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    packages = ("torch", "tensorflow-cpu", "keras", "onnxruntime", "numpy")
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
