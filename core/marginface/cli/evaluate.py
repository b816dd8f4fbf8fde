"""`marginface evaluate`: verification of models on pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite


def evaluate(
    model: Annotated[
        list[Path],
        typer.Option("--model", "--run", help="Run folder or ONNX file; repeat for more."),
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
    checkpoint: options.Checkpoint = None,
    batch_size: options.BatchSize = 64,
    flip: options.Flip = True,
    resize: options.Resize = "no",
    skip_bad: options.SkipBad = False,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups", help="CSV of person,group or image,group: figures by group as well."
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            "--score", help="Of a pair: cosine | qmagface, which takes the norms as quality."
        ),
    ] = "cosine",
    score_parameters: Annotated[
        str | None,
        typer.Option(
            "--score-parameters",
            help="Of qmagface, alpha=0.08,beta=0.13; or of its fit, fit_on=score.",
        ),
    ] = None,
    score_fit: Annotated[
        Path | None,
        typer.Option(
            "--score-fit",
            help="Verification set of other pairs that qmagface's alpha and beta are fitted on.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Measure accuracy over folds, AUC, EER and TAR at FAR on pairs of images.

    Several models and sets make one table. Options on how images enter a model hold for all.
    """
    from marginface.api.evaluate import evaluate as run
    from marginface.model import resize_choice
    from marginface.terminal import Terminal

    results = run(
        model,
        val=val,
        pairs=pairs,
        images=images,
        output=output,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        batch_size=batch_size,
        flip=flip,
        resize=resize_choice(resize),
        skip_bad=skip_bad,
        groups=groups,
        score=score,
        score_parameters=score_parameters,
        score_fit=score_fit,
        overwrite=overwrite,
        provider=provider,
        device=device,
        threads=threads,
    )
    console = Terminal()
    console.print(results.table())
    if groups is not None:
        console.print(results.group_table())
    if results.written:
        console.print(f"wrote {', '.join(map(str, results.written))}", soft_wrap=True)
