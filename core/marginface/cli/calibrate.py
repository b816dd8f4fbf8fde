"""`marginface calibrate`: thresholds for false accept rates, kept with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite


def calibrate(
    model: options.Model,
    val: Annotated[
        Path | None,
        typer.Option("--val", help="Verification set: .bin, container, CFP's Split/FP or FF."),
    ] = None,
    pairs: options.Pairs = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Images that the list names: aligned crops, or with --detector photos.",
        ),
    ] = None,
    far: Annotated[
        list[str] | None,
        typer.Option(
            "--far",
            help="Share of different people who may be accepted; repeat for more.",
            show_default="1e-1, 1e-2, 1e-3, 1e-4",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="ONNX file to write; of a folder, thresholds.json in it."),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option("--detector", help="SCRFD or YuNet in ONNX: --images are photos."),
    ] = None,
    min_score: Annotated[
        float, typer.Option("--min-score", help="With --detector: lowest score of a face.")
    ] = 0.5,
    backend: options.Backend = "onnx",
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    output_name: options.OutputName = None,
    checkpoint: options.Checkpoint = None,
    batch_size: options.BatchSize = 64,
    flip: options.Flip = True,
    resize: options.Resize = "no",
    skip_bad: options.SkipBad = False,
    overwrite: Overwrite = False,
    provider: options.Provider = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Measure thresholds for false accept rates on pairs, and keep them with the model.

    They hold for the way that the model is used here: flip or not, crops or photos with a detector.
    """
    from marginface.api.calibrate import calibrate as run
    from marginface.evaluation.verification import FAR_TARGETS
    from marginface.model import resize_choice
    from marginface.terminal import Terminal

    result = run(
        model,
        val=val,
        pairs=pairs,
        images=images,
        far=far or FAR_TARGETS,
        output=output,
        detector=detector,
        min_score=min_score,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        output_name=output_name,
        checkpoint=checkpoint,
        batch_size=batch_size,
        flip=flip,
        resize=resize_choice(resize),
        skip_bad=skip_bad,
        overwrite=overwrite,
        provider=provider,
        device=device,
        threads=threads,
    )
    console = Terminal()
    console.print(result.table())
    if result.dropped:
        console.print(
            f"dropped {result.dropped} earlier calibrations: of another model or preprocessing",
            soft_wrap=True,
        )
    console.print(f"wrote {result.written}", soft_wrap=True)
