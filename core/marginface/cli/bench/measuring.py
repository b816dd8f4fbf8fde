"""What the benches share: their options, and how costs are shown and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marginface.cli.output_options import claim_folder
from marginface.cli.waiting import wait_without_spinning

if TYPE_CHECKING:
    from marginface.benchmarking.cost import Cost

Backend = Annotated[str, typer.Option("--backend", help="torch | tf | all that are installed.")]
Rounds = Annotated[
    int, typer.Option("--rounds", min=1, help="Rounds; in each, everything is timed once.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: all.")]
Output = Annotated[
    Path | None, typer.Option("--output", help="Folder for a .json, a .md and a .png.")
]
Measure = Callable[[], "list[Cost]"]


def chosen_backends(backend: str) -> list[str]:
    """Return the backends that --backend names, and let their threads wait without spinning."""
    wait_without_spinning()
    from marginface.backend import backend_names, installed_backends
    from marginface.errors import unknown_name

    if backend not in ("all", *backend_names()):
        raise unknown_name("backend", backend, ["all", *backend_names()])
    return installed_backends() if backend == "all" else [backend]


def claim(context: typer.Context, output: Path | None, name: str, *, overwrite: bool) -> None:
    """Claim the folder of a bench before it measures."""
    from marginface.extras import require

    if output is not None:
        require("report", "matplotlib")
        claim_folder(context, output, f"{name}.json", overwrite=overwrite)


def measure_all(
    name: str, base: str, measures: Iterable[tuple[str, Measure]], output: Path | None
) -> None:
    """Measure, show each table as soon as it is there, and write what is asked for.

    Args:
        name: of the bench, and of its files.
        base: the rival that the others are compared with.
        measures: what is measured, and the function that does it.
        output: a claimed folder.
    """
    from marginface.benchmarking.files import groups, write_costs
    from marginface.outputs import filling
    from marginface.tables.benchmarking import cost_table
    from marginface.terminal import Terminal

    console, costs = Terminal(), []
    for what, measure in measures:
        with console.status(what):
            measured = measure()
        for group in groups(measured):
            console.print(cost_table(group, base))
        costs += measured
    if output is not None:
        with filling(output) as folder:
            written = write_costs(costs, base, folder, name)
        for path in written:
            console.print(f"wrote {output / path.name}", soft_wrap=True)
