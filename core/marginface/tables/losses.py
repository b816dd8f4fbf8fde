"""Tables of the losses and of one loss's parameters, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from marginface.losses.describe import Description


def losses_table(described: Sequence[Description]) -> Table:
    """Build the table of all losses."""
    table = Table()
    table.add_column("loss", no_wrap=True)
    table.add_column("parameters and defaults")
    table.add_column("source")
    for loss in described:
        parameters = ", ".join(f"{p.name}={short(p.default)}" for p in loss.parameters)
        table.add_row(loss.name, parameters, loss.source)
    return table


def parameters_table(loss: Description) -> Table:
    """Build the table of a loss's parameters."""
    table = Table("parameter", "default", "must be", "meaning")
    for p in loss.parameters:
        table.add_row(p.name, short(p.default), p.allowed, p.meaning)
    return table


def short(value: object) -> str:
    """Write a parameter's value as one types it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
