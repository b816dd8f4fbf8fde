"""`marginface convert`: anybody's weights under other names, or as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite


def convert(
    file: Annotated[
        Path,
        typer.Argument(
            help="Weights: .safetensors, .pt, .pth, .ckpt; a run, a model folder, an .onnx of "
            "export."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", help="The .safetensors, .pt or .onnx to write; without suffix, a folder."
        ),
    ],
    backbone: options.Backbone = None,
    naming: Annotated[
        str | None,
        typer.Option(
            "--as", help="Project whose names the weights get: insightface, cvlface, magface ..."
        ),
    ] = None,
    embedding_size: options.EmbeddingSize = None,
    input_size: options.InputSize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    training_data: Annotated[
        str | None,
        typer.Option("--training-data", help="Of a folder or .onnx: what it was trained on."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            "--figure", help="Of a folder or .onnx: NAME=NUMBER that was measured; repeat."
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="Of a folder or .onnx: of the weights, such as MIT."),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Of a folder or .onnx: where the weights come from."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Recognise weights, say what they are of and take, and write them for another program."""
    from marginface.api.convert import convert as run_convert
    from marginface.cards.card import parse_figures
    from marginface.tables.account import account_table
    from marginface.terminal import Terminal

    converted = run_convert(
        file,
        output,
        backbone=backbone,
        naming=naming,
        embedding_size=embedding_size,
        input_size=input_size,
        mean=mean,
        std=std,
        channels=channels,
        crop=crop,
        training_data=training_data,
        figures=parse_figures(figure) if figure else None,
        licence=licence,
        origin=origin,
        overwrite=overwrite,
    )
    terminal = Terminal(soft_wrap=True)
    if converted.found:
        terminal.print(f"found: {converted.found}")
    if converted.account is not None:
        terminal.print(account_table(converted.account))
    terminal.print(f"takes: {converted.pixels}")
    terminal.print(f"wrote {converted.path}")
