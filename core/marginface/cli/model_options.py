"""The options that say which model runs and how images enter it, shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from marginface.embeddings.embedder import Embedder

Model = Annotated[Path, typer.Option("--model", "--run", help="Run folder or ONNX file.")]
Val = Annotated[
    list[Path] | None,
    typer.Option(
        "--val",
        help="Verification set: .bin, container, CFP's Split/FP or FF, or a list of pairs with "
        "--images; repeat for more.",
    ),
]
Pairs = Annotated[
    Path | None, typer.Option("--pairs", help="List of pairs, such as LFW's; needs --images.")
]
PairImages = Annotated[
    Path | None,
    typer.Option(
        "--images", help="Aligned face images that the lists name: folder, .rec, .tfrecord."
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Leave out pairs with missing or broken images, and count them by fold."
    ),
]
Flip = Annotated[bool, typer.Option(help="Add the embedding of the mirror image to each image's.")]
Backend = Annotated[
    str,
    typer.Option("--backend", help="What runs the network: onnx, or for a run also torch | tf."),
]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="Of a file of weights: the network; default: recognised."),
]
EmbeddingSize = Annotated[
    int | None,
    typer.Option(
        "--embedding-size", help="Of a file of weights: length of an embedding; default: by shapes."
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        help="Of a file of weights: height,width of images; default: the crop's, or by shapes.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Subtracted from pixels (0..255): one number or three, a,b,c."),
]
Std = Annotated[
    str | None,
    typer.Option("--std", help="Divides pixels after the mean: one number or three, a,b,c."),
]
Channels = Annotated[
    str | None, typer.Option("--channels", help="Channel order of the network: rgb | bgr.")
]
Crop = Annotated[
    str | None,
    typer.Option("--crop", help="Part of each image to use: top,left,height,width in pixels."),
]
OutputName = Annotated[
    str | None,
    typer.Option(
        "--output-name",
        help="Which output of an ONNX file is the embedding; default: found by its shape.",
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="Which checkpoint of a run: best (with train --keep-best), last (default) or a step.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images in one batch.")]
Resize = Annotated[
    str,  # for `resize_choice`
    typer.Option(
        "--resize",
        help="Scale images of another size instead of refusing them: as in training, or as said.",
        metavar="[fit|letterbox|squeeze]",
        show_default=False,
    ),
]
RebuildIndex = Annotated[
    bool,
    typer.Option(
        "--rebuild-index", help="Write the .idx of a .rec again if it is missing or stale."
    ),
]
Provider = Annotated[
    str,
    typer.Option(
        "--provider",
        help="What ONNX Runtime computes on: auto (CUDA if it can be used) | cpu | cuda | another "
        "that it has.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="What the framework computes on, with --backend torch or tf: auto | cpu | cuda | "
        "cuda:1 | mps.",
    ),
]
OwnDevice = Annotated[
    str,
    typer.Option(
        "--device", help="What the framework computes on: auto | cpu | cuda | cuda:1 | mps."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: all.")]


def open_model(
    model: Path,
    backend: str,
    mean: str | None,
    std: str | None,
    channels: str | None,
    crop: str | None,
    threads: int | None,
    output_name: str | None = None,
    checkpoint: str | None = None,
    provider: str = "auto",
    device: str = "auto",
) -> Embedder:
    """Return the embedder that the options describe; raises as `open_embedder` does."""
    from marginface.embeddings.embedder import open_embedder

    return open_embedder(
        model,
        backend=backend,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        threads=threads,
        output_name=output_name,
        checkpoint=checkpoint,
        provider=provider,
        device=device,
    )
