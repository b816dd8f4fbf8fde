"""`marginface evaluate`: verification of a model on pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.progress import image_progress


def evaluate(
    model: options.Model,
    images: options.Images,
    pairs: Annotated[Path, typer.Option("--pairs", help="Pairs file in LFW's format.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for metrics.json and verification.png."),
    ] = None,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    batch_size: options.BatchSize = 64,
    flip: Annotated[
        bool, typer.Option(help="Sum the embeddings of an image and of its mirror image.")
    ] = True,
    resize: options.Resize = False,
    threads: options.Threads = None,
) -> None:
    """Measure ten-fold accuracy, AUC, EER and TAR at FAR of a model on pairs of images."""
    from rich.console import Console

    from marginface.data.pairs import read_pairs
    from marginface.evaluation.evaluate import check_images, evaluate_pairs
    from marginface.evaluation.report import check_output_dir, write_report

    if output is not None:
        check_output_dir(output)
    listed = read_pairs(pairs, images)
    embedder = options.open_model(model, backend, mean, std, channels, crop, threads)
    size = check_images(listed, size=embedder.image_size(resize=resize), resize=resize)
    embedder.check_size(*size)
    with image_progress("Embedding") as on_progress:
        result, scores = evaluate_pairs(
            embedder,
            listed,
            batch_size=batch_size,
            flip=flip,
            size=size,
            resize=resize,
            on_progress=on_progress,
        )
    console = Console()
    console.print(result.table())
    if output is not None:
        written = write_report(result, scores, listed.same, output)
        console.print("wrote " + " and ".join(str(path) for path in written), soft_wrap=True)
