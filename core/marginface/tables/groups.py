"""The table of figures by group of people, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from marginface.evaluation.calibration import Rate
from marginface.evaluation.comparison import Comparison
from marginface.text import printable


def groups_table(rows: Sequence[Comparison]) -> Table:
    """Build the table of each group's errors at the thresholds of all pairs."""
    table = Table(title="By group")
    several = len(rows) > 1
    if several:
        table.add_column("model", overflow="fold")
        table.add_column("set", overflow="fold")
    table.add_column("group", overflow="fold")
    titles = ("FAR", "threshold", "accepted of different", "of same", "its own threshold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        for group in row.groups:
            name = (
                f"{printable(group.name)}, {group.same_pairs:,} same and "
                f"{group.different_pairs:,} different"
            )
            for rates in group.rates:
                own = rates.own
                table.add_row(
                    *((row.model, row.pairs.name) if several else ()),
                    Text(name),
                    f"{rates.far:g}",
                    f"{rates.threshold:.4f}",
                    _share(rates.false_accepts),
                    _share(rates.true_accepts),
                    "none"
                    if own is None or not own.supported
                    else f"{own.value:.4f} ({own.low:.4f} - {own.high:.4f})",
                )
    table.caption = Text(
        "Thresholds are those of all pairs; intervals of 95%. A group has a threshold of its own "
        "where its different pairs can show the FAR."
    )
    return table


def _share(rate: Rate | None) -> str:
    if rate is None:
        return "none"
    value, low, high = rate
    return f"{value:.2%} ({100 * low:.2f} - {100 * high:.2f})"
