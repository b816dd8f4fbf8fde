"""`marginface data pack`: convert a set of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.cli.model_options import RebuildIndex
from marginface.cli.output_options import Overwrite


def pack(
    source: Annotated[
        Path, typer.Argument(help="Folder, .rec, .tfrecord, or verification set (.bin, .zip).")
    ],
    target: Annotated[Path, typer.Argument(help="New .rec, .tfrecord, .bin, .zip, or folder.")],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs", help="List of pairs of images in SOURCE, to make a verification set."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Scale images to this many pixels each way.")
    ] = None,
    image_format: Annotated[
        str | None, typer.Option("--format", help="Encode images again as jpeg | png.")
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out images that cannot be decoded, and pairs with such images.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    rebuild_index: RebuildIndex = False,
) -> None:
    """Convert a set of images; those of the right size and format are copied byte for byte.

    A run that was killed goes on where it was when the same command runs again.
    """
    from marginface.data.packing.conversion import convert
    from marginface.data.packing.encoding import Encoding
    from marginface.data.packing.partial import partial_path
    from marginface.data.packing.training_sets import check_target
    from marginface.data.verification.bin_file import tells_folds
    from marginface.data.verification.leaving_out import left_out_line
    from marginface.data.verification.pairs import Pairs
    from marginface.terminal import Terminal

    encoding = Encoding(None if size is None else (size, size), image_format)
    check_target(target, source, pairs, overwrite=overwrite)
    going_on = saying_how_to_go_on(partial_path(target))
    with going_on, image_progress("Packing") as on_progress:
        packed = convert(
            source,
            target,
            pairs=pairs,
            encoding=encoding,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    console = Terminal(soft_wrap=True)
    if isinstance(packed, Pairs):
        same = packed.same.sum()
        contents = f"{same:,} pairs of one person, {len(packed) - same:,} of two"
        if line := left_out_line(packed):
            console.print(line)
    else:
        contents = str(packed)
        for name, reason in packed.skipped:
            console.print(f"left out {name}: {reason}")
    console.print(f"{contents}; wrote {target}")
    if isinstance(packed, Pairs) and target.suffix.lower() == ".bin" and not tells_folds(packed):
        console.print(
            f"a .bin cannot tell its {packed.folds} folds, other ones will be formed; pack a .zip "
            "to keep them"
        )
