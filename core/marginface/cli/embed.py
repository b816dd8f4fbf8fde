"""`marginface embed`: the embeddings of many images, or of the faces of photos, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options


def embed(
    model: options.Model,
    output: Annotated[
        Path,
        typer.Option("--output", help="File to write: .parquet or .npz; of photos, .parquet."),
    ],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of aligned face images, or a .rec or .tfrecord."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option("--photos", help="Folder of photos: a row for each face; needs --detector."),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option("--detector", help="SCRFD with five points or YuNet, in ONNX."),
    ] = None,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    output_name: options.OutputName = None,
    checkpoint: options.Checkpoint = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            help="Images in one batch, default 64; photos that one thread takes together, 8.",
        ),
    ] = None,
    min_score: Annotated[
        float,
        typer.Option("--min-score", help="Of photos: what the detector scores less is no face."),
    ] = 0.5,
    min_face: Annotated[
        float,
        typer.Option(
            "--min-face", min=0, help="Of photos: pixels that the longer side of a crop must span."
        ),
    ] = 0,
    max_faces: Annotated[
        int,
        typer.Option("--max-faces", min=1, help="Of a photo: the surest that are embedded."),
    ] = 256,
    max_megapixels: Annotated[
        int,
        typer.Option(
            "--max-megapixels", min=1, help="Of photos: one with more million pixels is unreadable."
        ),
    ] = 268,
    resize: options.Resize = "no",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Skip and count images that are unreadable or of another size."
        ),
    ] = False,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip",
            help="Add the embedding of the mirror image to each image's, as evaluate does.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="N/COUNT",
            help="Do one share of the images, such as 3/16, the third of sixteen; all shares in "
            "order are the whole.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an existing file, or unfinished parts of other work."
        ),
    ] = False,
    rebuild_index: options.RebuildIndex = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Write the embedding of every image, or of every face of photos, to a Parquet or NumPy file.

    After an interruption the same command goes on; at most 1,024 images or 256 photos are done
    again. Photos and faces without a row are listed in a .left_out.csv beside the output.
    """
    from marginface.api.embed import embed as run
    from marginface.model import resize_choice
    from marginface.serving.photo_store import PhotosSummary
    from marginface.terminal import Terminal

    summary = run(
        model,
        images,
        output,
        photos=photos,
        detector=detector,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        batch_size=batch_size,
        min_score=min_score,
        min_face=min_face,
        max_faces=max_faces,
        max_megapixels=max_megapixels,
        resize=resize_choice(resize),
        skip_bad=skip_bad,
        flip=flip,
        shard=shard,
        overwrite=overwrite,
        rebuild_index=rebuild_index,
        provider=provider,
        device=device,
        threads=threads,
    )
    console = Terminal(soft_wrap=True)
    details = [f"{summary.embedding_size} numbers each"]
    if summary.resumed:
        kind = "images" if photos is None else "photos"
        details.append(f"{summary.resumed:,} {kind} taken up from the interrupted run")
    if isinstance(summary, PhotosSummary):
        console.print(
            f"wrote {summary.embedded:,} faces, from {summary.photos:,} photos, to {output} "
            f"({'; '.join(details)})"
        )
        for reason, count in summary.reasons.most_common():
            console.print(f"left out {count:,}: {reason}")
        if summary.reasons:
            console.print(f"which, and why: {summary.left_out}")
        return
    if summary.skipped:
        details.append(f"{len(summary.skipped):,} bad images skipped")
    console.print(f"wrote {summary.embedded:,} embeddings to {output} ({'; '.join(details)})")
    for _, reason in summary.skipped[:10]:
        console.print(f"skipped: {reason}")
    if len(summary.skipped) > 10:
        console.print(f"skipped: {len(summary.skipped) - 10:,} more")
