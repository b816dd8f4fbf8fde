"""`marginface evaluate`: verification of models on pairs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.metrics_output import claim_output
from marginface.cli.progress import image_progress
from marginface.errors import MarginfaceError


def evaluate(
    context: typer.Context,
    model: Annotated[
        list[Path], typer.Option("--model", help="Run folder or ONNX file; again for more.")
    ],
    val: options.Val = None,
    pairs: options.Pairs = None,
    images: options.PairImages = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for metrics.json, verification.png and scores.parquet; for several, one "
            "in it for each, and comparison.json and .csv.",
        ),
    ] = None,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    batch_size: options.BatchSize = 64,
    flip: options.Flip = True,
    resize: options.Resize = False,
    threads: options.Threads = None,
) -> None:
    """Measure accuracy over folds, AUC, EER and TAR at FAR on pairs of images.

    Several models and sets give one table. Options on how images enter a model hold for all.
    """
    from marginface.data.verification.opening import open_all
    from marginface.embeddings.embed import NormRange
    from marginface.embeddings.origin import Origin
    from marginface.evaluation.comparison import (
        Comparison,
        write_comparison,
        write_single,
    )
    from marginface.evaluation.evaluate import check_images, embed_pairs, score_pairs
    from marginface.evaluation.intervals import intervals
    from marginface.evaluation.measured_with import MeasuredWith, set_fingerprint
    from marginface.evaluation.verification import verify
    from marginface.extras import require
    from marginface.labels import distinct_labels
    from marginface.tables.verification import comparison_table, single_table
    from marginface.terminal import Terminal

    if output is not None:
        require("report", "matplotlib")
    claim_output(context, output)
    if not val and pairs is None:
        raise MarginfaceError(
            "there is nothing to verify; give --val lfw.bin, or --pairs pairs.txt and --images"
        )
    labels = distinct_labels(model, "model")
    sets = open_all(val or [], pairs, images)
    embedders = [
        options.open_model(path, backend, mean, std, channels, crop, threads) for path in model
    ]
    sizes = {}
    for label, embedder in zip(labels, embedders, strict=True):
        for each in sets:
            wanted = embedder.image_size(resize=resize)
            sizes[label, each.name] = size = check_images(each, size=wanted, resize=resize)
            embedder.check_size(*size)
    fingerprints = {each.name: set_fingerprint(each) for each in sets}

    rows = []
    for label, embedder in zip(labels, embedders, strict=True):
        for each in sets:
            noted = NormRange(embedder)
            with image_progress(f"{label}, {each.name}") as on_progress:
                embeddings = embed_pairs(
                    noted,
                    each,
                    batch_size=batch_size,
                    flip=flip,
                    size=sizes[label, each.name],
                    resize=resize,
                    on_progress=on_progress,
                )
            found = score_pairs(each, embeddings)
            result = verify(found.scores, each.same, each.fold)
            ends = intervals(found.scores, each.same, each.fold)
            origin = Origin.of(embedder, flip=flip, resize=resize, norms=noted.norms)
            known = MeasuredWith(label, origin, each.name, fingerprints[each.name], len(each))
            rows.append(Comparison(label, each, found, result, ends, known))
    console = Terminal()
    console.print(single_table(rows[0]) if len(rows) == 1 else comparison_table(rows))
    if output is not None:
        single = len(rows) == 1
        written = write_single(rows[0], output) if single else write_comparison(rows, output)
        console.print("wrote " + ", ".join(str(path) for path in written), soft_wrap=True)
