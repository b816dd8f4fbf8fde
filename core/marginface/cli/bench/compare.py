"""`marginface bench compare`: two records of the same bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    old: Annotated[Path, typer.Argument(help="The .json of an earlier --output.")],
    new: Annotated[Path, typer.Argument(help="The .json of a later one.")],
) -> None:
    """Compare times, new over old, with 95 % intervals over the rounds.

    "faster" and "slower" are said where the interval of the times over the base's excludes 1: what
    the machine did meanwhile slows the base as well.
    """
    from marginface.benchmarking.comparing import compare
    from marginface.benchmarking.files import groups, read_costs
    from marginface.errors import MarginfaceError
    from marginface.tables.benchmarking import change_table
    from marginface.terminal import Terminal

    before, after = read_costs(old), read_costs(new)
    if before.base != after.base:
        raise MarginfaceError(
            f"{old} has times over {before.base}, {new} over {after.base}; compare two "
            "of the same bench"
        )
    console = Terminal()
    for name, value in after.machine.items():
        if (other := before.machine.get(name)) != value:
            console.print(f"{name} differs: {other}, then {value}", soft_wrap=True)
    for group in groups(compare(before.costs, after.costs)):
        console.print(change_table(group, after.base))
