"""`marginface identify`: the search of probe images in a gallery of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import metrics_output as options
from marginface.errors import MarginfaceError


def identify(
    context: typer.Context,
    embeddings: options.Embeddings,
    gallery: Annotated[
        Path,
        typer.Option(
            "--gallery", help="Folder, or list of `subject/image` or `image<TAB>subject`."
        ),
    ],
    probes: Annotated[Path, typer.Option("--probes", help="As --gallery: the images to search.")],
    output: options.Output = None,
) -> None:
    """Measure identification (1:N): rank rates, and TPIR at FPIR where some probes are strangers.

    Images are named as in the embeddings: relative to the folder that was embedded.
    """
    from rich.console import Console

    from marginface.deployment.embedding_reader import embeddings_of
    from marginface.evaluation import identification
    from marginface.evaluation.image_lists import read_subjects_of_images

    options.claim_output(context, output)
    known, searched = read_subjects_of_images(gallery), read_subjects_of_images(probes)
    for name in searched:
        if name in known:
            raise MarginfaceError(
                f"image {name} is both in the gallery {gallery} and among the probes {probes}; it "
                "would find itself"
            )
    values = embeddings_of(embeddings, [*known, *searched])
    result = identification.identify(
        values[: len(known)], list(known.values()), values[len(known) :], list(searched.values())
    )
    console = Console()
    console.print(identification.table({gallery.name: result}))
    options.write_metrics(output, {"kind": "identification", **result.to_json()}, console)
