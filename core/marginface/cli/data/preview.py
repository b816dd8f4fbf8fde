"""`marginface data preview`: what augmentations do, on a sheet to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli.model_options import RebuildIndex
from marginface.cli.output_options import Overwrite, claim_file


def preview(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder, .rec or .tfrecord.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="PNG file to write.", show_default=False)],
    augment: Annotated[
        str | None,
        typer.Option("--augment", help="Augmentations, as for training; default: all, one by one."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the augmentations.")] = 0,
    images: Annotated[
        int, typer.Option("--images", min=1, max=32, help="Images, one in each column.")
    ] = 8,
    overwrite: Overwrite = False,
    rebuild_index: RebuildIndex = False,
) -> None:
    """Draw images as they are and as augmentations leave them.

    With --augment, three rows as training would draw them; else that of each preset, and a row of
    each augmentation where it acts.
    """
    from marginface.atomic import replacing
    from marginface.data.augmentation import expand_presets
    from marginface.data.images import decode_image
    from marginface.data.opening import open_by_name
    from marginface.data.preview import contact_sheet, drawn_rows, rows_of_all
    from marginface.errors import MarginfaceError
    from marginface.outputs import refuse_among
    from marginface.terminal import Terminal
    from marginface.training.config.values import split_names

    if output.suffix.lower() != ".png":
        raise MarginfaceError(f"the sheet is a PNG file, got {output}; end its name in .png")
    refuse_among(output, source)
    claim_file(context, output, overwrite=overwrite, inputs=[source])
    names = None if augment is None else split_names(augment)
    expand_presets(names or [])  # an unknown name ends here
    opened, image_names = open_by_name(source, rebuild_index=rebuild_index)
    # Spread over all of them: neighbours in a folder show the same person.
    count = min(images, len(image_names))
    chosen = [image_names[column * len(image_names) // count] for column in range(count)]
    pictures = [decode_image(opened.encoded(name), source / name, None) for name in chosen]
    rows = rows_of_all(pictures, seed) if names is None else drawn_rows(pictures, names, seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        contact_sheet([("original", pictures), *rows]).save(temporary, "PNG")
    Terminal(soft_wrap=True).print(f"wrote {output}: {count} images of {source}")
