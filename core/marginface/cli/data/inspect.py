"""`marginface data inspect`: count, check and compare sets of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.api.progress import image_progress
from marginface.cli.model_options import RebuildIndex
from marginface.cli.output_options import Overwrite, claim_file


def inspect(
    context: typer.Context,
    sets: Annotated[
        list[Path], typer.Argument(help="Folders, .rec, .tfrecord, or verification sets.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file for all findings, with every name.")
    ] = None,
    overwrite: Overwrite = False,
    rebuild_index: RebuildIndex = False,
) -> None:
    """Count images and identities; find broken images, duplicates, and what two sets share."""
    import json

    from marginface.atomic import replacing
    from marginface.data.formats.registry import has_index
    from marginface.data.inspection import inspect as inspect_set
    from marginface.data.listing import list_set
    from marginface.labels import distinct_labels
    from marginface.tables import inspection as tables
    from marginface.terminal import Terminal

    claim_file(context, json_file, overwrite=overwrite, inputs=sets)
    names = distinct_labels(sets, "set")
    inspections = []
    for name, path in zip(names, sets, strict=True):
        with image_progress(f"Inspecting {name}") as on_progress:
            rebuild = rebuild_index and (has_index(path) or not any(map(has_index, sets)))
            listed = list_set(path, on_progress, rebuild_index=rebuild)
            inspections.append(inspect_set(listed, on_progress))
    common = tables.compare(inspections)
    console = Terminal()
    console.print(tables.set_table(names, inspections))
    if any(each.images_an_identity is not None for each in inspections):
        console.print(tables.histogram_table(names, inspections))
    if common:
        console.print(tables.shared_table(names, common))
    for name, each in zip(names, inspections, strict=True):
        if each.listing.labels is None and each.listing.pairs is None:
            console.print(
                f"{name}: its images lie in no person's folder: whose they are is unknown"
            )
    for title, examples in tables.findings(names, inspections, common):
        if examples:
            console.print(f"{title}, such as", soft_wrap=True)
        for example in examples:
            console.print(f"  {example}", soft_wrap=True)
    if json_file is not None:
        with replacing(json_file) as temporary:
            text = json.dumps(tables.to_json(inspections, common), indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
        console.print(f"wrote {json_file}", soft_wrap=True)
