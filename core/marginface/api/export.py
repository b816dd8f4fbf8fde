"""`marginface.export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from marginface import backbones
from marginface.api.claims import claimed_file
from marginface.api.classifying import read_classes
from marginface.backend import MODULES, default_backend, installed_backends, load_backend
from marginface.calling import public
from marginface.checks import as_path, check_count
from marginface.embeddings.embedder import recorded_preprocessing
from marginface.embeddings.rewriting import Rewriting, carried_thresholds, rewrite
from marginface.errors import MarginfaceError, unknown_name
from marginface.formats import is_onnx
from marginface.model import (
    ALIGNED_SIZE,
    CROP,
    METADATA_KEY,
    ModelSpec,
    Preprocessing,
    for_each_channel,
    whole_numbers,
)
from marginface.onnx.classifier import build_classifier, check_classes
from marginface.onnx.export import check_path, export_model
from marginface.onnx.fast import processor_choice
from marginface.onnx.files import data_beside, data_files, replacing_model, save_model
from marginface.onnx.metadata import read_metadata, write_with_metadata
from marginface.onnx.session import check_file as check_model
from marginface.onnx.training import read_exported
from marginface.outputs import check_file
from marginface.runs.folder import load_run, write_text

OPSET = 17
CLASSIFIERS = ("alone", "beside")


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
    opset: int | None = None,
    preprocess: bool = False,
    flip: bool = False,
    normalize: bool = False,
    processor: str = "any",
    output_name: str | None = None,
    classifier: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an ONNX file, once ONNX Runtime and the framework agree; return its path.

    Args:
        output: the .onnx file to write.
        model: a run folder, or an .onnx, to write it anew; or give `weights`. One of another
            program is checked against itself, in ONNX Runtime alone.
        run: another name for `model`.
        checkpoint: of the run: "best" (of `keep_best`), "last" or a step; the last for None.
        weights: instead of a run: a .safetensors, .pt, .pth or .ckpt file.
        backbone: of `weights`: the network that they belong to.
        embedding_size: of `weights`: 512 for None.
        input_size: of `weights`: (height, width); for None those of `crop`, else (112, 112).
        mean: of `weights` or another program's .onnx, which keeps it as metadata: subtracted from
            pixels (0..255), one number or three.
        std: likewise: divides pixels after the mean, one number or three.
        channels: likewise: channel order of the network, "rgb" or "bgr".
        crop: likewise: (top, left, height, width) that is cut out of each image.
        backend: the framework to check against, "torch" or "tf"; for None the run's, where that is
            not installed or of weights the one that is, torch of both.
        opset: ONNX operator set, 13 to 23; 17 for None.
        preprocess: take uint8 [N, H, W, 3], with mean and std in the graph.
        flip: add the embedding of the mirror image in the graph.
        normalize: give embeddings of length 1.
        processor: what the graph is to be fast on: "cpu", "gpu" or "any".
        output_name: the output of another program's .onnx that stays, alone.
        classifier: of a run: "alone" for its class weights alone, from embeddings to the cosine
            with each identity; "beside" for these beside the network's embeddings. The names go to
            NAME.identities.txt.
        overwrite: replace an existing file.

    Raises:
        MarginfaceError: the model or the output cannot be used, or the two disagree.
    """
    if [model, run, weights].count(None) != 2:
        raise MarginfaceError("export takes either --model RUN or --weights FILE")
    path = as_path("output", output)
    model = run if model is None else model
    trained = None if model is None else as_path("model", model)
    if trained is not None and trained.suffix.lower() == ".onnx" and not trained.is_dir():
        check_model(trained)
    anew = trained is not None and trained.is_file()
    if trained is not None and anew and not is_onnx(trained):
        raise MarginfaceError(
            f"{trained} is no run folder and no ONNX file; --weights takes files of weights"
        )
    if checkpoint is not None and (trained is None or anew):
        raise MarginfaceError("--checkpoint goes with a run; files have none")
    published = None if weights is None else as_path("weights", weights)
    check_path(path)
    if opset is not None:
        check_count("opset", opset)
    chosen = processor_choice(processor)
    if classifier is not None:
        if classifier not in CLASSIFIERS:
            raise unknown_name("classifier", classifier, CLASSIFIERS)
        if trained is None or anew:
            raise MarginfaceError("--classifier goes with a run, whose class weights it writes")
        check_file(names_beside(path), overwrite=overwrite, inputs=[trained])
    if classifier == "alone":
        of_network = {"preprocess": preprocess, "flip": flip, "normalize": normalize}
        asked = {name: value or None for name, value in of_network.items()}
        refuse_given(asked, "is of the network, which --classifier alone leaves out")
    read = [trained, published]
    if trained is not None and anew:
        read += data_files(trained)
    with claimed_file(path, overwrite=overwrite, inputs=read):
        check_file(data_beside(path), overwrite=overwrite, inputs=read)
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
        if trained is not None and anew and METADATA_KEY not in read_metadata(trained):
            of_ours = ("backbone", "embedding_size", "input_size")
            needless = {name: of_weights.pop(name) for name in of_ours}
            needless |= {"backend": backend, "opset": opset, "preprocess": preprocess or None}
            refuse_given(needless, f"goes with a run or --weights; {trained} is a graph already")
            how = Rewriting(chosen, flip, normalize, output_name, of_weights)
            rewrite(trained, path, how)
            return path
        refuse_given({"output_name": output_name}, "goes with another program's .onnx")
        if trained is not None:
            refuse_given(of_weights, "goes with --weights; a model knows its own")
        if trained is not None and anew:
            exported = read_exported(trained)
            recorded = recorded_preprocessing(trained, read_metadata(trained))
            spec, arrays = replace(exported.spec, preprocessing=recorded), exported.weights
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
        classes, names = None, tuple[str, ...]()
        if trained is not None and classifier is not None:
            classes, names = read_classes(trained, checkpoint, loaded.config)
            metadata |= {"classes": str(classes.count), "identities": names_beside(path).name}
        if classes is not None and classifier == "alone":
            metadata["source"] = "NumPy"
            with replacing_model(path) as part:
                graph = build_classifier(classes, opset=opset or OPSET, metadata=metadata)
                save_model(graph, part)
                check_classes(part, classes)
                _write_names(path, names)
            return path
        framework = load_backend(backend or default_backend())
        metadata["source"] = framework.version()
        arrays = backbones.check_weights(spec.graph(), arrays, str(trained or published))
        with replacing_model(path) as part:
            export_model(
                spec,
                arrays,
                part,
                reference=framework.create_embedder(spec, arrays),
                opset=opset or OPSET,
                preprocess=preprocess,
                flip=flip,
                normalize=normalize,
                processor=chosen,
                classes=classes,
                metadata=metadata,
            )
            if names:
                _write_names(path, names)
            if trained is not None and (
                kept := carried_thresholds(trained, part, checkpoint=checkpoint)
            ):
                write_with_metadata(part, part, kept)
        return path


def names_beside(path: Path) -> Path:
    """Return the file of the identities' names that goes with a model of class weights."""
    return path.with_suffix(".identities.txt")


def _write_names(path: Path, names: Sequence[str]) -> None:
    write_text(names_beside(path), "".join(f"{name}\n" for name in names))


def refuse_given(options: dict[str, Any], why: str) -> None:
    """Raise if one of these options was given."""
    if given := [name for name, value in options.items() if value is not None]:
        raise MarginfaceError(f"--{given[0].replace('_', '-')} {why}")


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
