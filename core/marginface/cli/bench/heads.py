"""`marginface bench heads`: what the ways of a head over its classes cost."""

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


def heads(
    context: typer.Context,
    backend: Backend = "all",
    sizes: Annotated[
        str, typer.Option("--sizes", help="Batch x classes, comma-separated.")
    ] = "128x100000",
    rounds: Rounds = 5,
    threads: Threads = None,
    device: OwnDevice = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Time ArcFace's head in blocks of classes, in one, in bfloat16, with its update, sampled."""
    from marginface.benchmarking.heads import BASE, measure
    from marginface.benchmarking.losses import case_of, parse_sizes

    claim(context, output, "heads", overwrite=overwrite)
    measures = [
        (
            f"{framework}: {case_of(batch, classes)}",
            partial(
                measure, framework, batch, classes, rounds=rounds, threads=threads, device=device
            ),
        )
        for batch, classes in parse_sizes(sizes)
        for framework in chosen_backends(backend)
    ]
    measure_all("heads", BASE, measures, output)
