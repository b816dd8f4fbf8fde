"""`marginface.export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marginface import backbones
from marginface.api.claims import claimed_file
from marginface.backend import default_backend, load_backend
from marginface.errors import MarginfaceError
from marginface.model import ModelSpec, Preprocessing, for_each_channel
from marginface.onnx.export import check_path, export_model
from marginface.runs.folder import load_run


def export(
    output: str | Path,
    *,
    run: str | Path | None = None,
    weights: str | Path | None = None,
    backbone: str | None = None,
    embedding_size: int | None = None,
    input_size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: Sequence[int] | None = None,
    backend: str | None = None,
    opset: int = 17,
    preprocess: bool = False,
    normalize: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write an ONNX file, once ONNX Runtime and the framework agree; return its path.

    It takes either `run` or `weights`; the options are those of `marginface export`.

    Raises:
        MarginfaceError: the model or the output cannot be used, or the two disagree.
    """
    return export_checked(**{**locals(), "output": Path(output)})[0]


def export_checked(
    output: Path,
    *,
    run: str | Path | None,
    weights: str | Path | None,
    backend: str | None,
    opset: int,
    preprocess: bool,
    normalize: bool,
    overwrite: bool,
    **of_weights: Any,
) -> tuple[Path, str]:
    """Do the work of `export`; return the path and the framework that it agrees with."""
    if (run is None) == (weights is None):
        raise MarginfaceError("export takes either --run RUN or --weights FILE")
    check_path(output)
    inputs = [None if path is None else Path(path) for path in (run, weights)]
    with claimed_file(output, overwrite=overwrite, inputs=inputs):
        metadata: dict[str, str] = {}
        if run is not None:
            foreign = [name for name, value in of_weights.items() if value is not None]
            if foreign:
                option = f"--{foreign[0].replace('_', '-')}"
                raise MarginfaceError(f"{option} goes with --weights; a run knows its own")
            loaded = load_run(Path(run))
            spec, arrays = loaded.spec, loaded.weights
            backend = backend or loaded.config.get("backend")
            metadata = _about_the_loss(loaded.config)
        else:
            assert weights is not None
            spec = _spec(**of_weights)
            arrays = backbones.read_weights(Path(weights))
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
    return output, framework.version()


def _about_the_loss(config: dict[str, Any]) -> dict[str, str]:
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
    input_size: Sequence[int] | None,
    mean: Any,
    std: Any,
    channels: str | None,
    crop: Sequence[int] | None,
) -> ModelSpec:
    if backbone is None:
        raise MarginfaceError("--weights needs --backbone, the network that they belong to")
    height, width = input_size or (112, 112)
    given = {
        "mean": None if mean is None else for_each_channel("--mean", mean),
        "std": None if std is None else for_each_channel("--std", std),
        "channels": channels,
        "crop": None if crop is None else tuple(crop),
    }
    preprocessing: dict[str, Any] = {name: value for name, value in given.items() if value}
    return ModelSpec(
        backbone,
        512 if embedding_size is None else embedding_size,
        (height, width),
        preprocessing=Preprocessing(**preprocessing),
    )
