"""The costs of losses as the terminal shows them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from marginface.benchmarking.losses import BASE, Cost


def cost_table(costs: Sequence[Cost]) -> Table:
    """Return the costs of one backend and size as a table."""
    first = costs[0]
    title = f"{first.backend}, batch {first.batch}, {first.classes:,} classes"
    result = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    result.add_column("loss", no_wrap=True)
    for column in ("ms", f"x {BASE}", "smallest", "largest", "peak MB"):
        result.add_column(column, justify="right", no_wrap=True)
    for cost in costs:
        memory = "" if cost.memory is None else f"{cost.memory / 1e6:.0f}"
        middle = f"{statistics.median(cost.seconds) * 1e3:.1f}"
        result.add_row(cost.name, middle, *(f"{ratio:.2f}" for ratio in cost.to_base), memory)
    return result
