"""`marginface bench export`: what exported graphs cost, beside their framework."""

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
from marginface.cli.model_options import OwnDevice, Provider
from marginface.cli.output_options import Overwrite

BATCHES = (1, 32)


def export(
    context: typer.Context,
    backend: Backend = "all",
    names: Annotated[
        str, typer.Option("--backbones", help="Comma-separated names.")
    ] = "mobilefacenet",
    rounds: Rounds = 5,
    threads: Threads = None,
    device: OwnDevice = "auto",
    provider: Provider = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Time embedding 1 and 32 images in ONNX Runtime, by both graphs, and in the framework."""
    from marginface.backbones import describe
    from marginface.benchmarking.export import BASE, measure
    from marginface.checks import check_distinct

    chosen = names.split(",")
    for name in chosen:
        describe(name, 512)  # an unknown name ends here
    check_distinct("backbone", chosen)
    claim(context, output, "export", overwrite=overwrite)
    measures = [
        (
            f"{framework}: embedding",
            partial(
                measure,
                framework,
                chosen,
                BATCHES,
                rounds=rounds,
                threads=threads,
                device=device,
                provider=provider,
            ),
        )
        for framework in chosen_backends(backend)
    ]
    measure_all("export", BASE, measures, output)
