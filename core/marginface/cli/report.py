"""`marginface report`: a page that shows how models do on verification sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite, claim_folder


def report(
    context: typer.Context,
    models: Annotated[
        list[Path], typer.Argument(metavar="MODELS...", help="Run folders or ONNX files.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for index.html.")],
    val: options.Val = None,
    pairs: options.Pairs = None,
    images: options.PairImages = None,
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
    overwrite: Overwrite = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Write a page with the figures, curves and hardest errors of models on verification sets.

    One HTML file that needs no network. Options on how images enter a model hold for all.
    """
    from marginface.api.verifying import embed_sets, open_sets
    from marginface.evaluation.rejection import NO_CURVE, norms_vary
    from marginface.labels import distinct_labels
    from marginface.model import resize_choice
    from marginface.outputs import filling, refuse_among
    from marginface.report.collect import Report, ReportModel, measure
    from marginface.report.page import PAGE_NAME, write_page
    from marginface.report.training import describe_training, read_training
    from marginface.terminal import Terminal

    inputs = [*models, *(val or []), pairs, images]
    refuse_among(output, images)
    claim_folder(context, output, PAGE_NAME, overwrite=overwrite, inputs=inputs)
    sets = tuple(open_sets(val, pairs, images, skip_bad=skip_bad))
    names = distinct_labels(models, "model")
    listed = tuple(
        ReportModel(name, read_training(path), describe_training(path))
        for name, path in zip(names, models, strict=True)
    )
    embedders = [
        options.open_model(
            path,
            backend,
            mean,
            std,
            channels,
            crop,
            threads,
            output_name,
            checkpoint,
            provider,
            device,
        )
        for path in models
    ]
    every = [
        measure(
            known.model,
            each,
            embeddings,
            by_norm=norms_vary(*known.origin.norms),
            measured_with=known,
        )
        for each, embeddings, known in embed_sets(
            names, embedders, sets, batch_size=batch_size, flip=flip, resize=resize_choice(resize)
        )
    ]
    measured = [tuple(every[at : at + len(sets)]) for at in range(0, len(every), len(sets))]
    with filling(output) as folder:
        page = write_page(Report(listed, sets, tuple(measured)), folder)
        megabytes = page.stat().st_size / 1e6
    console = Terminal(soft_wrap=True)
    for name, results in zip(names, measured, strict=True):
        if any(each.rejection is None for each in results):
            console.print(f"{name}: {NO_CURVE}")
    console.print(f"wrote {output / page.name} ({megabytes:.1f} MB)")
