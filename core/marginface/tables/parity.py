"""The errors of parity as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from marginface.parity.measure import Deviation
from marginface.parity.page import QUANTITIES, cells


def parity_table(rows: Sequence[Deviation], pair: tuple[str, str]) -> Table:
    """Return one pair's errors as a table."""
    result = Table(title=f"{pair[0]} against {pair[1]}")
    for column in ("loss", "dtype"):
        result.add_column(column, no_wrap=True)
    for column in QUANTITIES:
        result.add_column(column, justify="right", no_wrap=True)
    previous = None
    for line in cells(rows, pair):
        result.add_row("" if line[0] == previous else line[0], *line[1:])
        previous = line[0]
    return result
