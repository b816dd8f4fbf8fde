"""`marginface bench data`: what batches of images cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from marginface.cli.bench.measuring import Output, Rounds, claim, measure_all
from marginface.cli.output_options import Overwrite


def data(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images to read: folder, .rec, .tfrecord; noise by default."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Images in one batch.")
    ] = 64,
    rounds: Rounds = 5,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Threads that decode ahead; 0 for none.")
    ] = 0,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Time batches of images as given, of a .rec and of a .tfrecord, beside the bare decoder."""
    from marginface.benchmarking.data import BASE, measure

    claim(context, output, "data", overwrite=overwrite)
    what = partial(measure, data, batch_size, rounds=rounds, threads=threads)
    measure_all("data", BASE, [("reading images", what)], output)
