"""`marginface compare`: do two photos show one person?"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite, claim_file
from marginface.errors import MarginfaceError

STATUS = {"same": 0, "undecided": 0, "not same": 1, "unsure": 3, "no answer": 4}


def compare(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A", help="A photo.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another photo.")],
    model: options.Model,
    detector: Annotated[
        Path | None,
        typer.Option(
            "--detector", help="SCRFD or YuNet in ONNX; without one, A and B are aligned crops."
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            "--far",
            help="Share of different people who may pass as one, of those that the model is "
            "calibrated for; without it: the score alone.",
        ),
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(
            "--face",
            help="Which face where a photo has several: largest, or its number from 0; "
            "largest,0 for A and B.",
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Add the embedding of the mirror image to each crop's; default: as calibrated.",
        ),
    ] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", help="With --detector: lowest score of a face.")
    ] = 0.5,
    min_face: Annotated[
        float,
        typer.Option("--min-face", help="Pixels of the photo that the crop must span at least."),
    ] = 32,
    max_blur: Annotated[
        float, typer.Option("--max-blur", help="Most blur of a face that is compared, 0 to 1.")
    ] = 0.8,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="PNG to draw: both photos, their faces, and the score on its axis."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    output_name: options.OutputName = None,
    checkpoint: options.Checkpoint = None,
    overwrite: Overwrite = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Say whether two photos show one person, at a false accept rate, or why it cannot be said.

    Exit status: 0 same (or a score alone), 1 not same, 3 unsure, 4 no answer; 2 is an error.
    """
    from marginface.api.compare import compare as run
    from marginface.atomic import replacing

    if picture is not None and picture.suffix.lower() != ".png":
        raise MarginfaceError(f"--picture must end in .png, got {picture}")
    claim_file(context, picture, overwrite=overwrite, inputs=[first, second, model, detector])
    found = run(
        first,
        second,
        model=model,
        detector=detector,
        far=far,
        face=_faces(face),
        flip=flip,
        min_score=min_score,
        min_face=min_face,
        max_blur=max_blur,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        provider=provider,
        device=device,
        threads=threads,
    )
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with replacing(picture) as part:
            found.picture().save(part, "png")
    try:
        print(json.dumps(found.to_json(), indent=1) if as_json else found)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads; the status is the answer still, and 1 is "not same"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise typer.Exit(STATUS[found.answer])


def _faces(text: str | None) -> Any:
    """Return which faces are meant.

    >>> _faces("largest"), _faces("0,largest")
    ('largest', (0, 'largest'))
    """
    if text is None:
        return None
    parts = [int(part) if part.strip().isdecimal() else part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise MarginfaceError(
            f"--face takes one or two, such as largest or 0,largest; got {text!r}"
        )
    return tuple(parts) if len(parts) == 2 else parts[0]
