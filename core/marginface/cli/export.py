"""`marginface export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marginface.cli import model_options as options
from marginface.cli.output_options import Overwrite, claim_file
from marginface.errors import MarginfaceError

if TYPE_CHECKING:
    from marginface.model import ModelSpec


def export(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", help="The .onnx file to write.")],
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder of marginface train.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Instead of a run: .safetensors, .pt, .pth or .ckpt file."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="With --weights: the backbone that they belong to."),
    ] = None,
    embedding_size: Annotated[
        int | None,
        typer.Option(
            "--embedding-size", help="With --weights: length of an embedding; default: 512."
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            "--input-size", help="With --weights: height,width of images; default: 112,112."
        ),
    ] = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    crop: options.Crop = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Framework to check against, torch | tf; default: the run's, or for weights the "
            "one that is installed (torch if both are).",
        ),
    ] = None,
    opset: Annotated[int, typer.Option("--opset", help="ONNX operator set, 13 to 23.")] = 17,
    preprocess: Annotated[
        bool,
        typer.Option(
            "--preprocess", help="Let the graph take uint8 [N, H, W, 3] and apply mean and std."
        ),
    ] = False,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Give embeddings of length 1.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write an ONNX file, once ONNX Runtime and the framework give the same embeddings."""
    from marginface import backbones
    from marginface.backend import default_backend, load_backend
    from marginface.onnx.export import TOLERANCE, check_path, export_model
    from marginface.runs.folder import load_run
    from marginface.terminal import Terminal

    if (run is None) == (weights is None):
        raise MarginfaceError("export takes either --run RUN or --weights FILE")
    check_path(output)
    claim_file(context, output, overwrite=overwrite, inputs=[run, weights])
    of_weights = {
        "--backbone": backbone,
        "--embedding-size": embedding_size,
        "--input-size": input_size,
        "--mean": mean,
        "--std": std,
        "--channels": channels,
        "--crop": crop,
    }
    metadata: dict[str, str] = {}
    if run is not None:
        foreign = [name for name, value in of_weights.items() if value is not None]
        if foreign:
            raise MarginfaceError(f"{foreign[0]} goes with --weights; a run knows its own")
        loaded = load_run(run)
        spec, arrays = loaded.spec, loaded.weights
        backend = backend or loaded.config.get("backend")
        metadata = _about_the_loss(loaded.config)
    else:
        assert weights is not None
        spec = _spec(backbone, embedding_size, input_size, (mean, std, channels, crop))
        arrays = backbones.read_weights(weights)
    framework = load_backend(backend or default_backend())
    metadata["source"] = framework.version()
    arrays = backbones.check_weights(spec.graph(), arrays, str(run or weights))
    export_model(
        spec,
        arrays,
        output,
        reference=framework.create_embedder(spec, arrays),
        opset=opset,
        preprocess=preprocess,
        normalize=normalize,
        metadata=metadata,
    )
    Terminal(soft_wrap=True).print(
        f"wrote {output}: agrees with {framework.version()} within {TOLERANCE:g}"
    )


def _about_the_loss(config: dict[str, Any]) -> dict[str, str]:
    import json

    if "loss" not in config:
        return {}
    shorthands = {
        name: config[name] for name in ("scale", "margin") if config.get(name) is not None
    }
    parameters = shorthands | config.get("loss_parameters", {})
    return {"loss": config["loss"], "loss_parameters": json.dumps(parameters)}


def _spec(
    backbone: str | None,
    embedding_size: int | None,
    input_size: str | None,
    preprocessing: tuple[str | None, ...],
) -> ModelSpec:
    from marginface.model import ModelSpec, Preprocessing

    if backbone is None:
        raise MarginfaceError("--weights needs --backbone, the network that they belong to")
    height, width = options.whole_numbers("--input-size", input_size, 2) or (112, 112)
    return ModelSpec(
        backbone,
        512 if embedding_size is None else embedding_size,
        (height, width),
        preprocessing=Preprocessing(**options.given_preprocessing(*preprocessing)),
    )
