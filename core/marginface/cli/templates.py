"""`marginface templates`: IJB's protocols, verification and identification of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from marginface.cli import metrics_output as options
from marginface.cli.output_options import Overwrite, claim_folder
from marginface.errors import MarginfaceError


def templates(
    context: typer.Context,
    embeddings: options.Embeddings,
    media: Annotated[
        Path, typer.Option("--media", help="Lines `image template medium`: ijbc_face_tid_mid.txt.")
    ],
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", help="The detector's scores of the images: ijbc_name_5pts_score.txt."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="For 1:1: ijbc_template_pair_label.txt."),
    ] = None,
    gallery: Annotated[
        list[Path] | None,
        typer.Option("--gallery", help="For 1:N: ijbc_1N_gallery_G1.csv; repeat for each gallery."),
    ] = None,
    probes: Annotated[
        Path | None, typer.Option("--probes", help="For 1:N: ijbc_1N_probe_mixed.csv.")
    ] = None,
    output: options.Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure templates of images as IJB-B and IJB-C do: pairs (1:1), search in galleries (1:N).

    The embeddings come from `marginface embed --flip`.
    """
    from marginface.data.lookup import ImageNames
    from marginface.embeddings.reader import read_embeddings, read_names
    from marginface.evaluation import template_files as files
    from marginface.evaluation.identification import galleries_json
    from marginface.evaluation.listed_images import by_image, media_by_image
    from marginface.evaluation.output import METRICS_NAME
    from marginface.evaluation.rejection import NO_CURVE, norms_vary
    from marginface.evaluation.template_search import search_galleries
    from marginface.evaluation.template_verification import score_pairs, verify_templates
    from marginface.evaluation.templates import pool
    from marginface.labels import distinct_labels
    from marginface.tables.identification import identification_table
    from marginface.tables.templates import template_table
    from marginface.terminal import Terminal

    if bool(gallery) != bool(probes):
        raise MarginfaceError("--gallery and --probes go together; give both or neither")
    if not (pairs or gallery):
        raise MarginfaceError("nothing to measure; give --pairs, or --gallery and --probes")
    inputs = [*embeddings, media, scores, pairs, *(gallery or []), probes]
    claim_folder(context, output, METRICS_NAME, overwrite=overwrite, inputs=inputs)
    listed_in = gallery or []
    names = distinct_labels(listed_in, "gallery")
    origin = options.open_origin(embeddings)
    galleries = {
        name: files.read_subjects(path) for name, path in zip(names, listed_in, strict=True)
    }
    searched = None if probes is None else files.read_subjects(probes)
    listed = files.read_media(media)
    weights = None if scores is None else files.read_detector_scores(scores)
    embedded = frozenset(read_names(embeddings))  # for several lists
    listed = media_by_image(listed, ImageNames(embedded))
    if weights is not None and scores is not None:
        weights = by_image(weights, ImageNames(embedded), scores)
    pooled = pool(listed, read_embeddings(embeddings), weights)
    console = Terminal()
    console.print(f"{len(listed.names):,} images make {len(pooled.ids):,} templates")
    metrics: dict[str, Any] = {
        "kind": "templates",
        "images": len(listed.names),
        "templates": len(pooled.ids),
        "embeddings": None if origin is None else origin.to_json(),
    }
    if pairs is not None:
        pair_scores = score_pairs(pooled, files.read_template_pairs(pairs), str(pairs))
        by_norm = origin is None or norms_vary(*origin.norms)
        verified = verify_templates(pooled, pair_scores, by_norm=by_norm)
        console.print(template_table(verified))
        if verified.reject is None:
            console.print(NO_CURVE, soft_wrap=True)
        metrics |= verified.to_json()
    if searched is not None:
        results = search_galleries(pooled, galleries, searched)
        options.note_missing_mates(results)
        console.print(identification_table(results))
        metrics |= galleries_json(results)
    options.write_metrics(output, metrics, console)
