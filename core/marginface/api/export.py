"""`marginface.export`: a trained model, or published weights, as an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marginface import backbones
from marginface.api.claims import claimed_file
from marginface.api.classifying import read_classes
from marginface.api.export_sources import (
    Network,
    WeightsOptions,
    find_source,
    read_model,
    read_published,
)
from marginface.backend import default_backend, load_backend
from marginface.calling import public
from marginface.checks import as_path, check_count
from marginface.embeddings.rewriting import Rewriting, carried_thresholds, rewrite
from marginface.errors import MarginfaceError, unknown_name
from marginface.formats import is_onnx
from marginface.onnx.classifier import build_classifier, check_classes
from marginface.onnx.export import check_path, export_model
from marginface.onnx.fast import processor_choice
from marginface.onnx.files import data_beside, data_files, replacing_model, save_model
from marginface.onnx.metadata import write_with_metadata
from marginface.outputs import check_file
from marginface.runs.folder import write_text

OF_OURS = ("backbone", "embedding_size", "input_size")  # what a graph says by itself
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
        model: a run folder, a model folder, or an .onnx, to write it anew; or give `weights`. One
            of another program is checked against itself, in ONNX Runtime alone.
        run: another name for `model`.
        checkpoint: of the run: "best" (of `keep_best`), "last" or a step; the last for None.
        weights: instead of a run: a .safetensors, .pt, .pth or .ckpt file.
        backbone: of `weights`: the network that they belong to; None recognises it.
        embedding_size: of `weights`: by their shapes for None.
        input_size: of `weights`: (height, width); for None those of `crop`, else by their shapes.
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
    kind, source = find_source(model, run, weights)
    path = as_path("output", output)
    check_path(path)
    if opset is not None:
        check_count("opset", opset)
    chosen = processor_choice(processor)
    if classifier not in (None, *CLASSIFIERS):
        raise unknown_name("classifier", classifier, CLASSIFIERS)
    told = WeightsOptions(backbone, embedding_size, input_size, mean, std, channels, crop)
    of_weights = vars(told)
    of_framework = {"backend": backend, "opset": opset, "preprocess": preprocess or None}
    if kind != "run":
        refuse_given({"checkpoint": checkpoint}, "goes with a run; files have none")
        refuse_given({"classifier": classifier}, "goes with a run, whose class weights it writes")
    if kind == "foreign":
        needless = {name: of_weights[name] for name in OF_OURS} | of_framework
        refuse_given(needless, f"goes with a run or --weights; {source} is a graph already")
    else:
        refuse_given({"output_name": output_name}, "goes with another program's .onnx")
    if kind in ("run", "folder", "exported"):
        refuse_given(of_weights, "goes with --weights; a model knows its own")
    if classifier is not None:
        check_file(names_beside(path), overwrite=overwrite, inputs=[source])
    if classifier == "alone":
        of_network = {"preprocess": preprocess, "flip": flip, "normalize": normalize}
        asked = {name: value or None for name, value in of_network.items()}
        refuse_given(asked, "is of the network, which --classifier alone leaves out")
    with claimed_model(path, source, overwrite=overwrite):
        if kind == "foreign":
            pixels = {name: value for name, value in of_weights.items() if name not in OF_OURS}
            rewrite(source, path, Rewriting(chosen, flip, normalize, output_name, pixels))
            return path
        if kind == "weights":
            network = read_published(source, told)
        else:
            network = read_model(source, checkpoint)
        metadata, classes = network.origin(), None
        if classifier is not None:
            classes, names = read_classes(source, checkpoint, network.config)
            metadata |= {"classes": str(classes.count), "identities": names_beside(path).name}
        with replacing_model(path) as part:
            if classes is not None:
                write_text(names_beside(part), "".join(f"{name}\n" for name in names))
            if classes is not None and classifier == "alone":
                metadata["source"] = "NumPy"
                save_model(build_classifier(classes, opset=opset or OPSET, metadata=metadata), part)
                check_classes(part, classes)
                return path
            write_network(
                part,
                network,
                source,
                metadata,
                backend=backend,
                opset=opset or OPSET,
                preprocess=preprocess,
                flip=flip,
                normalize=normalize,
                processor=chosen,
                classes=classes,
            )
            if kind != "weights":
                keep_thresholds(source, part, checkpoint)
        return path


@contextmanager
def claimed_model(path: Path, source: Path, *, overwrite: bool) -> Iterator[None]:
    """Claim an .onnx, and the data beside it, made from `source`; raises as `check_file`."""
    read = [source, *(data_files(source) if is_onnx(source) else [])]
    with claimed_file(path, overwrite=overwrite, inputs=read):
        check_file(data_beside(path), overwrite=overwrite, inputs=read)
        yield


def write_network(
    part: Path,
    network: Network,
    source: Path,
    metadata: Mapping[str, str],
    *,
    backend: str | None = None,
    **form: Any,
) -> None:
    """Write a network as ONNX, once a framework gives the same embeddings.

    Args:
        part: the .onnx to write.
        network: of `source`.
        source: for messages.
        metadata: beside the framework's version.
        backend: the framework; for None the network's own, or the one that is installed.
        form: of the graph, as `export_model` takes it.
    """
    framework = load_backend(backend or network.checking_backend() or default_backend())
    arrays = backbones.check_weights(network.spec.graph(), network.arrays, str(source))
    reference = framework.create_embedder(network.spec, arrays, folded=False)
    about = {**metadata, "source": framework.version()}
    export_model(network.spec, arrays, part, reference=reference, metadata=about, **form)


def keep_thresholds(source: Path, part: Path, checkpoint: str | int | None = None) -> None:
    """Put a model's thresholds into what was made of it, where its embeddings are the same."""
    if kept := carried_thresholds(source, part, checkpoint=checkpoint):
        write_with_metadata(part, part, kept)


def names_beside(path: Path) -> Path:
    """Return the file of the identities' names that goes with a model of class weights."""
    return path.with_suffix(".identities.txt")


def refuse_given(options: dict[str, Any], why: str) -> None:
    """Raise if one of these options was given."""
    if given := [name for name, value in options.items() if value is not None]:
        raise MarginfaceError(f"--{given[0].replace('_', '-')} {why}")
