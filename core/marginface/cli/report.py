"""`marginface report`: a page that shows how models do on verification sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.progress import image_progress


def report(
    models: Annotated[list[Path], typer.Argument(help="Run folders or ONNX files.")],
    images: options.Images,
    pairs: Annotated[list[Path], typer.Option("--pairs", help="Pairs file in LFW's format.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for index.html.")],
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
    """Write a page with the figures, curves and hardest errors of models on verification sets."""
    from rich.console import Console

    from marginface.data.pairs import read_pairs
    from marginface.evaluation.evaluate import check_images
    from marginface.evaluation.report import check_output_dir
    from marginface.report.collect import (
        Report,
        ReportModel,
        ReportSet,
        measure,
        read_training,
        short_names,
    )
    from marginface.report.page import write_page

    check_output_dir(output)
    model_names, set_names = short_names(models), short_names(pairs)
    sets = tuple(
        ReportSet(name, read_pairs(path, images))
        for name, path in zip(set_names, pairs, strict=True)
    )
    measured = []
    for name, path in zip(model_names, models, strict=True):
        embedder = options.open_model(path, backend, mean, std, channels, crop, threads)
        row = []
        for one in sets:
            size = check_images(one.pairs, size=embedder.image_size(resize=resize), resize=resize)
            embedder.check_size(*size)
            with image_progress(f"{name} on {one.name}") as on_progress:
                row.append(
                    measure(
                        embedder,
                        one.pairs,
                        batch_size=batch_size,
                        flip=flip,
                        size=size,
                        resize=resize,
                        on_progress=on_progress,
                    )
                )
        measured.append(tuple(row))
    listed = tuple(
        ReportModel(name, read_training(path))
        for name, path in zip(model_names, models, strict=True)
    )
    page = write_page(Report(listed, sets, tuple(measured)), output)
    Console().print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)", soft_wrap=True)
