"""`marginface identify`: the search of probe images in a gallery of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import metrics_output as options
from marginface.cli.output_options import Overwrite, claim_folder
from marginface.errors import MarginfaceError


def identify(
    context: typer.Context,
    embeddings: options.Embeddings,
    gallery: Annotated[
        Path,
        typer.Option(
            "--gallery",
            help="Folder, .rec or .tfrecord, or list of `subject/image` or `image<TAB>subject`.",
        ),
    ],
    probes: Annotated[
        Path,
        typer.Option(
            "--probes",
            help="Images to search for, given as --gallery is; without a subject they are searched "
            "for but not measured.",
        ),
    ],
    top: Annotated[
        int,
        typer.Option("--top", min=1, help="People to list for each probe in candidates.parquet."),
    ] = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for metrics.json and candidates.parquet."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the people whom probe images resemble most, and measure how often that is right (1:N).

    Rank rates of the probes whose person is in the gallery, FPIR of the others, TPIR at FPIR where
    there are both. Probes of whom the list says nothing do not count. Images are named as in the
    embeddings: relative to the folder that was embedded.
    """
    import numpy as np

    from marginface.data.lookup import ImageNames
    from marginface.embeddings.reader import embeddings_of, read_names
    from marginface.evaluation import identification
    from marginface.evaluation.image_lists import read_subjects_of_images
    from marginface.evaluation.output import METRICS_NAME
    from marginface.tables.identification import candidates_table, identification_table
    from marginface.terminal import Terminal

    if output is not None:  # before any work: it needs Arrow, which the rest may not
        from marginface.evaluation import candidates
    inputs = [*embeddings, gallery, probes]
    claim_folder(context, output, METRICS_NAME, overwrite=overwrite, inputs=inputs)
    origin = options.open_origin(embeddings)
    embedded = frozenset(read_names(embeddings))  # for several lists
    enrolled = read_subjects_of_images(gallery, ImageNames(embedded))
    searched = read_subjects_of_images(probes, ImageNames(embedded), all_known=False)
    for name in searched:
        if name in enrolled:
            raise MarginfaceError(
                f"image {name} is both in the gallery {gallery} and among the probes {probes}; it "
                "would find itself"
            )
    values = embeddings_of(embeddings, [*enrolled, *searched])
    names, truth = list(searched), list(searched.values())
    searches = identification.search(
        values[: len(enrolled)], list(enrolled.values()), values[len(enrolled) :], truth, top=top
    )
    result = identification.measure(searches, np.array(truth) != "")
    options.note_missing_mates({gallery.name: result})
    console = Terminal()
    console.print(candidates_table(names, truth, searches))
    console.print(identification_table({gallery.name: result}))
    metrics = {
        "kind": "identification",
        "embeddings": None if origin is None else origin.to_json(),
        **result.to_json(),
    }

    def write_candidates(folder: Path) -> Path:
        path = folder / candidates.CANDIDATES_NAME
        candidates.write_candidates(path, names, truth, searches)
        return path

    options.write_metrics(output, metrics, console, write_candidates)
