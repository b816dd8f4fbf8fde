"""`marginface export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite


def export(
    output: Annotated[Path, typer.Option("--output", help="The .onnx file to write.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", "--run", help="Run folder, or an .onnx to write anew."),
    ] = None,
    checkpoint: options.Checkpoint = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Instead of a run: .safetensors, .pt, .pth or .ckpt file."),
    ] = None,
    backbone: options.Backbone = None,
    embedding_size: options.EmbeddingSize = None,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Framework to check against, torch | tf; default: the run's; where it is "
            "not installed, or for weights, the one that is (torch if both are).",
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", help="ONNX operator set, 13 to 23; default: 17.")
    ] = None,
    preprocess: Annotated[
        bool,
        typer.Option(
            "--preprocess", help="Let the graph take uint8 [N, H, W, 3] and apply mean and std."
        ),
    ] = False,
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Add the embedding of the mirror image in the graph."),
    ] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Give embeddings of length 1.")
    ] = False,
    processor: Annotated[
        str,
        typer.Option("--for", help="What the graph is to be fast on: cpu, gpu or any."),
    ] = "any",
    output_name: Annotated[
        str | None,
        typer.Option(
            "--output-name",
            help="Of another program's .onnx: the output that is the embedding; others go.",
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            "--classifier",
            help="Of a run, for closed sets: its class weights alone, or beside the embeddings.",
            metavar="[alone|beside]",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an ONNX file, once ONNX Runtime and the framework give the same embeddings."""
    from marginface.api.export import export as run_export
    from marginface.embeddings.rewriting import DIFFERENCE_KEY
    from marginface.onnx.export import TOLERANCE
    from marginface.onnx.metadata import read_metadata
    from marginface.terminal import Terminal

    path = run_export(
        output,
        model=model,
        checkpoint=checkpoint,
        weights=weights,
        backbone=backbone,
        embedding_size=embedding_size,
        input_size=input_size,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        backend=backend,
        opset=opset,
        preprocess=preprocess,
        flip=flip,
        normalize=normalize,
        processor=processor,
        output_name=output_name,
        classifier=classifier,
        overwrite=overwrite,
    )
    metadata = read_metadata(path)
    how = f"agrees with {metadata.get('source')} within {TOLERANCE:g}"
    if DIFFERENCE_KEY in metadata:
        how = f"largest difference of embeddings: {metadata[DIFFERENCE_KEY]} of their length"
    terminal = Terminal(soft_wrap=True)
    if "weights" in metadata and weights is not None:
        terminal.print(f"{weights}: {metadata['weights']}")
    terminal.print(f"wrote {path}: {how}")
