"""Tables of rivals timed side by side, as ratios within one run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from marginface.benchmarking import Work, interleave, machine, ratios

__all__ = ["Work", "interleave", "ratios", "report"]


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
