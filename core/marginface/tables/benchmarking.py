"""The costs of a bench as the terminal shows them, and two records side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from marginface.benchmarking.comparing import Change
from marginface.benchmarking.cost import Cost


def cost_table(costs: Sequence[Cost], base: str) -> Table:
    """Return the costs of one backend and case as a table."""
    result = Table(title=f"{costs[0].backend}, {costs[0].case}")
    result.add_column("", no_wrap=True)
    taken = any(cost.memory is not None for cost in costs)
    for column in ("ms", f"x {base}", "smallest", "largest", *(["peak MB"] if taken else [])):
        result.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        memory = "" if cost.memory is None else f"{cost.memory / 1e6:.0f}"
        middle = f"{statistics.median(cost.seconds) * 1e3:.1f}"
        ratios = [f"{ratio:.2f}" for ratio in cost.to_base]
        result.add_row(cost.name, middle, *ratios, *([memory] if taken else []))
    return result


def change_table(changes: Sequence[Change], base: str) -> Table:
    """Return what has changed in one backend and case between two records."""
    first = changes[0]
    result = Table(title=f"{first.backend}, {first.case}")
    result.add_column("", no_wrap=True)
    for column in ("old ms", "new ms", "new / old", "95 %", f"over {base}", "95 %", ""):
        result.add_column(column, justify="right", no_wrap=True)
    for change in changes:
        cells = [f"{ms * 1e3:.1f}" for ms in change.medians]
        for ratio in (change.time, change.over_base):
            cells += [f"{ratio[0]:.2f}", f"{ratio[1]:.2f} - {ratio[2]:.2f}"]
        result.add_row(change.name, *cells, change.verdict)
    return result
