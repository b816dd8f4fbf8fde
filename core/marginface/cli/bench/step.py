"""`marginface bench step`: what a training step of a backbone costs."""

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


def step(
    context: typer.Context,
    backend: Backend = "all",
    names: Annotated[
        str,
        typer.Option(
            "--backbones",
            help="Comma-separated names; the first is what the others are compared with.",
        ),
    ] = "mobilefacenet,mbf",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=2, help="Images in one batch.")
    ] = 32,
    rounds: Rounds = 5,
    threads: Threads = None,
    device: OwnDevice = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Time forward, backward and update of each backbone with ArcFace and 1,000 classes."""
    from marginface.backbones import describe
    from marginface.benchmarking.step import measure
    from marginface.checks import check_distinct

    chosen = names.split(",")
    for name in chosen:
        describe(name, 512)  # an unknown name ends here
    check_distinct("backbone", chosen)
    claim(context, output, "step", overwrite=overwrite)
    measures = [
        (
            f"{framework}: training steps",
            partial(
                measure,
                framework,
                chosen,
                batch_size,
                rounds=rounds,
                threads=threads,
                device=device,
            ),
        )
        for framework in chosen_backends(backend)
    ]
    measure_all("step", chosen[0], measures, output)
