"""`marginface bench losses`: what a loss costs in an installation's frameworks."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from marginface.cli.bench.measuring import (
    Backend,
    Output,
    Rounds,
    Threads,
    chosen_backends,
    claim,
    measure_all,
)
from marginface.cli.model_options import OwnDevice
from marginface.cli.output_options import Overwrite


def losses(
    context: typer.Context,
    backend: Backend = "all",
    names: Annotated[
        str | None,
        typer.Option("--losses", help="Names or module:Class, comma-separated; default: all."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes", help="Batch x classes, comma-separated, such as 128x100000,512x10000."
        ),
    ] = "128x10000",
    rounds: Rounds = 3,
    threads: Threads = None,
    device: OwnDevice = "auto",
    memory: Annotated[
        bool,
        typer.Option(
            help="Also measure peak memory (not a GPU's), each loss in a process of its own."
            " It takes minutes."
        ),
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Time forward and backward of each loss, and take its peak memory, beside normface's."""
    from marginface.benchmarking.losses import BASE, case_of, measure, parse_sizes
    from marginface.checks import check_distinct
    from marginface.losses import load
    from marginface.losses.registry import usable
    from marginface.losses.tensor_code import check_runs_in, left_out, runs_in
    from marginface.terminal import Terminal

    claim(context, output, "losses", overwrite=overwrite)
    chosen = names.split(",") if names else usable()
    for name in chosen:
        load(name)  # an unknown name ends here
    check_distinct("loss", chosen)
    backends = chosen_backends(backend)
    for name in chosen if backend != "all" else []:
        check_runs_in(name, backend)
    for line in left_out(chosen, backends):
        Terminal().print(line, soft_wrap=True)
    measures = [
        (
            f"{framework}: {case_of(batch, classes)}",
            partial(
                measure,
                framework,
                [name for name in chosen if runs_in(name, framework)],
                batch,
                classes,
                rounds=rounds,
                memory=memory,
                threads=threads,
                device=device,
            ),
        )
        for batch, classes in parse_sizes(sizes)
        for framework in backends
    ]
    measure_all("losses", BASE, measures, output)
