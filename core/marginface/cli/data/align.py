"""`marginface data align`: aligned face crops from photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marginface.api.progress import image_progress, saying_how_to_go_on
from marginface.cli.output_options import Overwrite
from marginface.errors import MarginfaceError

if TYPE_CHECKING:
    from marginface.data.photos.face_sources import FaceSource

MIN_SCORE = 0.5
FACE = "largest"
QUALITY = 95


def align(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Folder of photos, which may contain folders.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the crops.")],
    detector: Annotated[
        Path | None, typer.Option("--detector", help="SCRFD with five points or YuNet, in ONNX.")
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(
            "--landmarks",
            help="Instead of a detector: JSON, CSV or IJB's list, five points for each photo.",
        ),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="Size of the crops, height x width in pixels.")
    ] = "112x112",
    face: Annotated[
        str | None,
        typer.Option(
            "--face", help="Which face, if there are several: largest | central.", show_default=FACE
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", help="Lowest score of a face.", show_default=str(MIN_SCORE)),
    ] = None,
    min_face: Annotated[
        int,
        typer.Option(
            "--min-face",
            min=0,
            help="Smallest number of pixels of the photo that a crop must span.",
        ),
    ] = 0,
    image_format: Annotated[
        str, typer.Option("--format", help="Format of the crops: jpg | png (lossless).")
    ] = "jpg",
    quality: Annotated[
        int | None,
        typer.Option("--quality", help="JPEG quality, 1 to 100.", show_default=str(QUALITY)),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Crop by points that form no face, too, as for benchmarks."),
    ] = False,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Photos in one batch.")
    ] = 8,
    max_megapixels: Annotated[
        int,
        typer.Option(
            "--max-megapixels",
            min=1,
            help="Largest photo to read, in millions of pixels; larger ones are skipped.",
        ),
    ] = 268,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            help="What ONNX Runtime computes on: auto (CUDA if it can be used) | cpu | cuda | "
            "another that it has.",
            show_default="auto",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Align each photo's face to the five-point template; write crops and alignment.csv.

    Crops keep the photos' folders and names. After an interruption the same command goes on.
    """
    from marginface.data.photos.cropping import ALIGNED, CropOptions
    from marginface.data.photos.photos import (
        NO_IMAGE,
        TABLE_NAME,
        align_photos,
        check_output,
        partial_path,
    )
    from marginface.terminal import Terminal

    if quality is not None and image_format == "png":
        raise MarginfaceError("--quality goes with --format jpg; png loses nothing")
    options = CropOptions(
        _height_and_width(size),
        face or FACE,
        min_face,
        image_format,
        QUALITY if quality is None else quality,
        all=every,
    )
    if every and min_face:
        raise MarginfaceError("--all crops every photo with points; leave out --min-face")
    check_output(photos, output, overwrite=overwrite, inputs=[detector, landmarks])
    source = _face_source(detector, landmarks, face, min_score, provider)
    going_on = saying_how_to_go_on(partial_path(output))
    with going_on, image_progress("Aligning") as on_progress:
        counts = align_photos(
            photos,
            output,
            source,
            options,
            batch_size=batch_size,
            max_pixels=max_megapixels * 10**6,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    console = Terminal(soft_wrap=True)
    console.print(
        f"aligned {counts[ALIGNED]:,} of {counts.total() - counts[NO_IMAGE]:,} photos to {output}"
    )
    for status, count in counts.most_common():
        if status != ALIGNED:
            console.print(f"skipped {count:,}: {status}")
    console.print(f"each photo's points and reason: {output / TABLE_NAME}")
    loose = sum(each.suffix == f".{options.format}" for each in output.iterdir())
    if loose:
        console.print(
            f"{loose:,} crops lie in no person's folder: to train on them, move each to its "
            f"person's, {output / 'NAME'}"
        )


def _height_and_width(text: str) -> tuple[int, int]:
    """Read a size.

    >>> _height_and_width("112x96")
    (112, 96)
    """
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise MarginfaceError(
            f"--size takes height x width in pixels such as 112x96, got '{text}'"
        ) from None
    return height, width


def _face_source(
    detector: Path | None,
    landmarks: Path | None,
    face: str | None,
    min_score: float | None,
    provider: str | None,
) -> FaceSource:
    from marginface.data.photos.face_sources import annotated, detected

    if detector is not None and landmarks is None:
        least = MIN_SCORE if min_score is None else min_score
        return detected(detector, min_score=least, provider=provider or "auto")
    if detector is not None or landmarks is None:
        raise MarginfaceError(
            "give either --detector MODEL.onnx, SCRFD with five points or YuNet, such as "
            "InsightFace's det_10g.onnx (in its buffalo_l.zip), or --landmarks FILE"
        )
    given = (("--face", face), ("--min-score", min_score), ("--provider", provider))
    for option, value in given:
        if value is not None:
            raise MarginfaceError(f"{option} goes with --detector, not with --landmarks")
    return annotated(landmarks)
