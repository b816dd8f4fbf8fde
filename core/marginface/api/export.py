"""`marginface.export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marginface import backbones
from marginface.api.calling import public
from marginface.api.claims import claimed_file
from marginface.backend import MODULES, default_backend, installed_backends, load_backend
from marginface.checks import as_path, check_count
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import (
    ALIGNED_SIZE,
    CROP,
    ModelSpec,
    Preprocessing,
    for_each_channel,
    whole_numbers,
)
from marginface.onnx.export import check_path, export_model
from marginface.onnx.training import read_exported
from marginface.runs.folder import load_run


@public
def export(
    output: str | Path,
    *,
    model: str | Path | None = None,
    run: str | Path | None = None,
    checkpoint: str | int | None = None,
    weights: str | Path | None = None,
    backbone: str | None = None,
    embedding_size: int | None = None,
    input_size: str | Sequence[int] | None = None,
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    channels: str | None = None,
    crop: str | Sequence[int] | None = None,
    backend: str | None = None,
    opset: int = 17,
    preprocess: bool = False,
    normalize: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write an ONNX file, once ONNX Runtime and the framework agree; return its path.

    Args:
        output: the .onnx file to write.
        model: a run folder, or an .onnx that was exported, to write it anew; or give `weights`.
        run: another name for `model`.
        checkpoint: of the run: "best" (of `keep_best`), "last" or a step; the last for None.
        weights: instead of a run: a .safetensors, .pt, .pth or .ckpt file.
        backbone: of `weights`: the network that they belong to.
        embedding_size: of `weights`: 512 for None.
        input_size: of `weights`: (height, width); for None those of `crop`, else (112, 112).
        mean: of `weights`: subtracted from pixels (0..255), one number or three.
        std: of `weights`: divides pixels after the mean, one number or three.
        channels: of `weights`: channel order of the network, "rgb" or "bgr".
        crop: of `weights`: (top, left, height, width) that is cut out of each image.
        backend: the framework to check against, "torch" or "tf"; for None the run's, where that is
            not installed or of weights the one that is, torch of both.
        opset: ONNX operator set, 13 to 23.
        preprocess: take uint8 [N, H, W, 3], with mean and std in the graph.
        normalize: give embeddings of length 1.
        overwrite: replace an existing file.

    Raises:
        MarginfaceError: the model or the output cannot be used, or the two disagree.
    """
    if [model, run, weights].count(None) != 2:
        raise MarginfaceError("export takes either --model RUN or --weights FILE")
    path = as_path("output", output)
    model = run if model is None else model
    trained = None if model is None else as_path("model", model)
    anew = trained is not None and trained.is_file()
    if trained is not None and anew and not is_onnx(trained):
        raise MarginfaceError(
            f"{trained} is no run folder and no ONNX file; --weights takes files of weights"
        )
    if checkpoint is not None and (trained is None or anew):
        raise MarginfaceError("--checkpoint goes with a run; files have none")
    published = None if weights is None else as_path("weights", weights)
    check_path(path)
    check_count("opset", opset)
    with claimed_file(path, overwrite=overwrite, inputs=[trained, published]):
        metadata: dict[str, str] = {}
        of_weights: dict[str, Any] = {
            "backbone": backbone,
            "embedding_size": embedding_size,
            "input_size": input_size,
            "mean": mean,
            "std": std,
            "channels": channels,
            "crop": crop,
        }
        if trained is not None:
            foreign = [name for name, value in of_weights.items() if value is not None]
            if foreign:
                option = f"--{foreign[0].replace('_', '-')}"
                raise MarginfaceError(f"{option} goes with --weights; a model knows its own")
        if trained is not None and anew:
            exported = read_exported(trained)
            spec, arrays = exported.spec, exported.weights
            metadata = _about_the_loss(exported.loss)
        elif trained is not None:
            loaded = load_run(trained, checkpoint)
            spec, arrays = loaded.spec, loaded.weights
            backend = backend or _checking_backend(loaded.config)
            metadata = _about_the_loss(loaded.config)
        else:
            assert published is not None
            spec = _spec(**of_weights)
            arrays = backbones.read_weights(published)
        framework = load_backend(backend or default_backend())
        metadata["source"] = framework.version()
        arrays = backbones.check_weights(spec.graph(), arrays, str(trained or published))
        return export_model(
            spec,
            arrays,
            path,
            reference=framework.create_embedder(spec, arrays),
            opset=opset,
            preprocess=preprocess,
            normalize=normalize,
            metadata=metadata,
        )


def _checking_backend(config: dict[str, Any]) -> str | None:
    """Return the backend that a run names if it is installed: the file is one for all of them."""
    named = config.get("backend")
    return named if named not in MODULES or named in installed_backends() else None


def _about_the_loss(config: dict[str, Any]) -> dict[str, str]:
    if "loss" not in config:
        return {}
    shorthands = {
        name: config[name] for name in ("scale", "margin") if config.get(name) is not None
    }
    parameters = shorthands | config.get("loss_parameters", {})
    return {"loss": config["loss"], "loss_parameters": json.dumps(parameters)}


def _spec(
    backbone: object,
    embedding_size: int | None,
    input_size: str | Sequence[int] | None,
    mean: Any,
    std: Any,
    channels: str | None,
    crop: str | Sequence[int] | None,
) -> ModelSpec:
    if not isinstance(backbone, str):
        raise MarginfaceError("--weights needs --backbone, the network that they belong to")
    cut = None if crop is None else whole_numbers("--crop", crop, CROP)
    height, width = ALIGNED_SIZE if cut is None else cut[2:]
    if input_size is not None:
        height, width = whole_numbers("--input-size", input_size, CROP[2:])
    given = {
        "mean": None if mean is None else for_each_channel("--mean", mean),
        "std": None if std is None else for_each_channel("--std", std),
        "channels": channels,
        "crop": cut,
    }
    preprocessing: dict[str, Any] = {
        name: value for name, value in given.items() if value is not None
    }
    return ModelSpec(
        backbone,
        512 if embedding_size is None else embedding_size,
        (height, width),
        preprocessing=Preprocessing(**preprocessing),
    )
