"""`marginface embed`: the embeddings of many images, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options


def embed(
    model: options.Model,
    images: Annotated[
        Path,
        typer.Option("--images", help="Folder of aligned face images, or a .rec or .tfrecord."),
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write: .parquet or .npz.")],
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    output_name: options.OutputName = None,
    checkpoint: options.Checkpoint = None,
    batch_size: options.BatchSize = 64,
    resize: options.Resize = "no",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip and count images that are unreadable or of another size."
        ),
    ] = False,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip",
            help="Add the embedding of the mirror image to each image's, as evaluate does.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an existing file, or unfinished parts of other work."
        ),
    ] = False,
    rebuild_index: options.RebuildIndex = False,
    threads: options.Threads = None,
) -> None:
    """Write path, identity, norm and embedding of every image to a Parquet or NumPy file.

    After an interruption the same command goes on; at most 1,024 images are done again.
    """
    from marginface.api.embed import embed as run
    from marginface.model import resize_choice
    from marginface.terminal import Terminal

    summary = run(
        model,
        images,
        output,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        batch_size=batch_size,
        resize=resize_choice(resize),
        skip_bad=skip_bad,
        flip=flip,
        overwrite=overwrite,
        rebuild_index=rebuild_index,
        threads=threads,
    )
    details = [f"{summary.embedding_size} numbers each"]
    if summary.resumed:
        details.append(f"{summary.resumed:,} images taken up from the interrupted run")
    if summary.skipped:
        details.append(f"{len(summary.skipped):,} bad images skipped")
    console = Terminal(soft_wrap=True)
    console.print(f"wrote {summary.embedded:,} embeddings to {output} ({'; '.join(details)})")
    for _, reason in summary.skipped[:10]:
        console.print(f"skipped: {reason}")
    if len(summary.skipped) > 10:
        console.print(f"skipped: {len(summary.skipped) - 10:,} more")
