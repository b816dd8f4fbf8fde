"""`marginface data split`: hold out a part of a set for validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.api.progress import image_progress
from marginface.cli.model_options import RebuildIndex
from marginface.cli.output_options import Overwrite


def split(
    source: Annotated[Path, typer.Argument(help="Folder, .rec or .tfrecord.")],
    output: Annotated[
        Path, typer.Option("--output", help="New folder for train, validation and pairs.")
    ],
    fraction: Annotated[
        float, typer.Option("--fraction", help="Share that goes to validation, between 0 and 1.")
    ] = 0.1,
    by: Annotated[
        str,
        typer.Option(
            "--by", help="identity: none is in both parts | image: all identities stay in train."
        ),
    ] = "identity",
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", help="Also draw this many verification pairs, a multiple of 20."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    overwrite: Overwrite = False,
    rebuild_index: RebuildIndex = False,
) -> None:
    """Split a set into train and validation: folders of a folder, .rec of .rec, else .tfrecord."""
    from marginface.data.listing import open_training_set
    from marginface.data.subsets import check_split, write_split
    from marginface.data.subsets import split as split_images
    from marginface.data.verification.pair_drawing import draw_pairs
    from marginface.errors import MarginfaceError
    from marginface.terminal import Terminal

    if pairs is not None and by == "image":
        raise MarginfaceError(
            "--pairs needs identities that are not trained on; split with --by identity"
        )
    check_split(output, source, overwrite=overwrite)
    with image_progress("Opening") as on_progress:
        images = open_training_set(source, on_progress, rebuild_index=rebuild_index)
    parts = split_images(images, fraction, by=by, seed=seed)
    drawn = None if pairs is None else draw_pairs(images, parts[1], pairs, seed=seed)
    with image_progress("Splitting") as on_progress:
        train, validation = write_split(
            images, parts, output, pairs=drawn, overwrite=overwrite, on_progress=on_progress
        )
    console = Terminal(soft_wrap=True)
    console.print(f"train: {train}")
    console.print(f"validation: {validation}")
    if drawn is not None:
        console.print(f"pairs: {len(drawn):,} in {drawn.folds} folds")
    console.print(f"wrote {output}")
