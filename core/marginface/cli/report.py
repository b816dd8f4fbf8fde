"""`marginface report`: a page that shows how models do on verification sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.progress import image_progress
from marginface.errors import MarginfaceError


def report(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODELS...", help="Run folders or ONNX files.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for index.html.")],
    val: options.Val = None,
    pairs: options.Pairs = None,
    images: options.PairImages = None,
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
    """Write a page with the figures, curves and hardest errors of models on verification sets.

    One HTML file that needs no network. Options on how images enter a model hold for all.
    """
    from marginface.data.verification.opening import open_all
    from marginface.embeddings.embed import NormRange
    from marginface.embeddings.origin import Origin
    from marginface.evaluation.evaluate import check_images, embed_pairs
    from marginface.evaluation.measured_with import MeasuredWith, set_fingerprint
    from marginface.evaluation.output import check_output_dir
    from marginface.evaluation.rejection import NO_CURVE, norms_vary
    from marginface.labels import distinct_labels
    from marginface.report.collect import Report, ReportModel, measure
    from marginface.report.page import write_page
    from marginface.report.training import read_training
    from marginface.terminal import Terminal

    check_output_dir(output)
    if not val and pairs is None:
        raise MarginfaceError(
            "there is nothing to verify; give --val lfw.bin, or --pairs pairs.txt and --images"
        )
    names = distinct_labels(models, "model")
    listed = tuple(
        ReportModel(name, read_training(path)) for name, path in zip(names, models, strict=True)
    )
    sets = tuple(open_all(val or [], pairs, images))
    embedders = [
        options.open_model(path, backend, mean, std, channels, crop, threads) for path in models
    ]
    sizes = []
    for embedder in embedders:
        wanted = embedder.image_size(resize=resize)
        sizes.append([check_images(each, size=wanted, resize=resize) for each in sets])
        for size in sizes[-1]:
            embedder.check_size(*size)
    fingerprints = [set_fingerprint(each) for each in sets]

    measured = []
    for name, embedder, row in zip(names, embedders, sizes, strict=True):
        found = []
        for each, size, fingerprint in zip(sets, row, fingerprints, strict=True):
            noted = NormRange(embedder)
            with image_progress(f"{name}, {each.name}") as on_progress:
                embeddings = embed_pairs(
                    noted,
                    each,
                    batch_size=batch_size,
                    flip=flip,
                    size=size,
                    resize=resize,
                    on_progress=on_progress,
                )
            origin = Origin.of(embedder, flip=flip, resize=resize, norms=noted.norms)
            known = MeasuredWith(name, origin, each.name, fingerprint, len(each))
            by_norm = norms_vary(*noted.norms)
            found.append(measure(name, each, embeddings, by_norm=by_norm, measured_with=known))
        measured.append(tuple(found))
    page = write_page(Report(listed, sets, tuple(measured)), output)
    megabytes = page.stat().st_size / 1e6
    console = Terminal(soft_wrap=True)
    for name, results in zip(names, measured, strict=True):
        if any(each.rejection is None for each in results):
            console.print(f"{name}: {NO_CURVE}")
    console.print(f"wrote {page} ({megabytes:.1f} MB)")
