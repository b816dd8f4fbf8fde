"""`marginface bench`: what a loss costs in an installation's frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from marginface.cli.output_options import Overwrite, claim_folder


def bench(
    context: typer.Context,
    what: Annotated[Literal["losses"], typer.Argument(help="What to measure.")],
    backend: Annotated[
        str, typer.Option("--backend", help="torch | tf | all; all that are installed by default.")
    ] = "all",
    names: Annotated[
        str | None,
        typer.Option("--losses", help="Names or module:Class, comma-separated; all by default."),
    ] = None,
    sizes: Annotated[
        str, typer.Option("--sizes", help="Comma-separated batch x classes.")
    ] = "128x10000,128x100000,512x10000",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each loss.")] = 7,
    memory: Annotated[
        bool, typer.Option(help="Take the peak memory too, each in a process of its own.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for losses.json and losses.png.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Time forward and backward of each loss beside normface's, and their peak memory."""
    del what  # losses are the only choice so far
    from marginface import losses
    from marginface.backend import backend_names, installed_backends
    from marginface.benchmarking.costs import RECORD_NAME, write_costs
    from marginface.benchmarking.losses import measure, parse_sizes
    from marginface.checks import check_distinct
    from marginface.errors import unknown_name
    from marginface.extras import require
    from marginface.losses.registry import usable
    from marginface.losses.tensor_code import check_runs_in, left_out, runs_in
    from marginface.outputs import filling
    from marginface.tables.benchmarking import cost_table
    from marginface.terminal import Terminal

    if output is not None:
        require("report", "matplotlib")
        claim_folder(context, output, RECORD_NAME, overwrite=overwrite)
    chosen = names.split(",") if names else usable()
    for name in chosen:
        losses.load(name)  # an unknown name ends here
    check_distinct("loss", chosen)
    if backend not in ("all", *backend_names()):
        raise unknown_name("backend", backend, ["all", *backend_names()])
    backends = installed_backends() if backend == "all" else [backend]
    for name in chosen if backend != "all" else []:
        check_runs_in(name, backend)
    console, costs = Terminal(), []
    for line in left_out(chosen, backends):
        console.print(line, soft_wrap=True)
    for batch, classes in parse_sizes(sizes):
        for framework in backends:
            with console.status(f"{framework}: batch {batch}, {classes} classes"):
                supported = [name for name in chosen if runs_in(name, framework)]
                measured = measure(
                    framework, supported, batch, classes, rounds=rounds, memory=memory
                )
            console.print(cost_table(measured))
            costs += measured
    if output is not None:
        with filling(output) as folder:
            written = write_costs(costs, folder)
        for path in written:
            console.print(f"wrote {output / path.name}", soft_wrap=True)
