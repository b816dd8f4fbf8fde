"""The table of what became of a file's arrays."""

from __future__ import annotations

from rich.table import Table

from marginface.backbones.naming import Account
from marginface.text import listed

SHOWN = 1  # name of each group


def account_table(account: Account) -> Table:
    """Build a table with a row for each thing that became of arrays."""
    table = Table()
    table.add_column("arrays", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("such as")
    for what, names in account.groups().items():
        table.add_row(what, str(len(names)), listed(names, SHOWN))
    table.add_row("missing", "0", "")
    return table
