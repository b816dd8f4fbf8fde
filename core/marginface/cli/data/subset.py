"""`marginface data subset`: take a part of a set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.cli.model_options import RebuildIndex
from marginface.cli.output_options import Overwrite


def subset(
    source: Annotated[Path, typer.Argument(help="Folder, .rec or .tfrecord.")],
    target: Annotated[Path, typer.Argument(help="New .rec, .tfrecord, or folder.")],
    kept: Annotated[
        Path | None,
        typer.Option("--kept", help="Table of `marginface clean`: take only images that it keeps."),
    ] = None,
    min_images: Annotated[
        int,
        typer.Option("--min-images", min=1, help="Only identities with at least this many images."),
    ] = 1,
    max_images: Annotated[
        int | None,
        typer.Option("--max-images", min=1, help="Draw at most this many images of each identity."),
    ] = None,
    identities: Annotated[
        int | None, typer.Option("--identities", min=1, help="Draw this many identities.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    overwrite: Overwrite = False,
    rebuild_index: RebuildIndex = False,
) -> None:
    """Take a part of a set: --kept, then --min-images, --identities and --max-images."""
    from marginface.data.listing import open_training_set
    from marginface.data.packing.partial import partial_path, telling_what_stays
    from marginface.data.packing.training_sets import check_target
    from marginface.data.subsets import choose, write_part
    from marginface.terminal import Terminal

    check_target(target, source, kept, overwrite=overwrite)
    with image_progress("Opening") as on_progress:
        images = open_training_set(source, on_progress, rebuild_index=rebuild_index)
    chosen = choose(
        images,
        kept=kept,
        min_images=min_images,
        max_images=max_images,
        identities=identities,
        seed=seed,
    )
    going_on = saying_how_to_go_on(partial_path(target))
    with going_on, image_progress("Copying") as on_progress, telling_what_stays(target):
        summary = write_part(images, chosen, target, on_progress, overwrite=overwrite)
    console = Terminal(soft_wrap=True)
    console.print(f"{summary}; wrote {target}")
