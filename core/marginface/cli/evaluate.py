"""`marginface evaluate`: verification of models on pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite, claim_folder


def evaluate(
    context: typer.Context,
    model: Annotated[
        list[Path], typer.Option("--model", help="Run folder or ONNX file; repeat for more.")
    ],
    val: options.Val = None,
    pairs: options.Pairs = None,
    images: options.PairImages = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for metrics.json, verification.png and scores.parquet; with several "
            "models or sets, one folder in it for each, and comparison.json and .csv.",
        ),
    ] = None,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    output_name: options.OutputName = None,
    batch_size: options.BatchSize = 64,
    flip: options.Flip = True,
    resize: options.Resize = False,
    skip_bad: options.SkipBad = False,
    overwrite: Overwrite = False,
    threads: options.Threads = None,
) -> None:
    """Measure accuracy over folds, AUC, EER and TAR at FAR on pairs of images.

    Several models and sets make one table. Options on how images enter a model hold for all.
    """
    from marginface.cli.verifying import embed_sets, open_sets
    from marginface.evaluation.comparison import (
        Comparison,
        write_comparison,
        write_single,
    )
    from marginface.evaluation.output import METRICS_NAME
    from marginface.extras import require
    from marginface.labels import distinct_labels
    from marginface.outputs import filling, refuse_among
    from marginface.tables.verification import comparison_table, single_table
    from marginface.terminal import Terminal

    if output is not None:
        require("report", "matplotlib")
        require("data", "pyarrow")
    inputs = [*model, *(val or []), pairs, images]
    if output is not None:
        refuse_among(output, images)
    claim_folder(context, output, METRICS_NAME, overwrite=overwrite, inputs=inputs)
    labels = distinct_labels(model, "model")
    sets = open_sets(val, pairs, images, skip_bad=skip_bad)
    embedders = [
        options.open_model(path, backend, mean, std, channels, crop, threads, output_name)
        for path in model
    ]
    rows = [
        Comparison.of(each, embeddings, known.model, known)
        for each, embeddings, known in embed_sets(
            labels, embedders, sets, batch_size=batch_size, flip=flip, resize=resize
        )
    ]
    console = Terminal()
    console.print(single_table(rows[0]) if len(rows) == 1 else comparison_table(rows))
    if output is not None:
        single = len(rows) == 1
        with filling(output) as folder:
            written = write_single(rows[0], folder) if single else write_comparison(rows, folder)
        names = (str(output / path.relative_to(folder)) for path in written)
        console.print(f"wrote {', '.join(names)}", soft_wrap=True)
