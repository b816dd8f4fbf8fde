"""Write a model to an ONNX file, once ONNX Runtime has agreed with the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.model import ModelSpec
from marginface.onnx.classifier import ClassWeights, check_classes
from marginface.onnx.fast import Processor
from marginface.onnx.files import LARGEST, replacing_model, save_model
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx
from marginface.vectors import directionless

TOLERANCE = 1e-4  # largest difference, where embeddings have length 1
BATCHES = (1, 3)

Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def check_path(path: Path) -> None:
    """Raise unless a model can be written there."""
    if path.suffix.lower() != ".onnx":
        raise MarginfaceError(f"the model is written as .onnx, got '{path.name}'")
    if path.is_dir():
        raise MarginfaceError(f"output {path} is a folder, expected the name of a file")
    if not path.parent.is_dir():
        raise MarginfaceError(f"{path.parent} is not an existing folder; create it first")


def export_model(
    spec: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    path: str | Path,
    *,
    reference: Embed,
    opset: int = 17,
    preprocess: bool = False,
    flip: bool = False,
    normalize: bool = False,
    processor: Processor = "any",
    classes: ClassWeights | None = None,
    metadata: Mapping[str, str] | None = None,
    largest: int = LARGEST,
) -> Path:
    """Write the ONNX contract to `path` and return it.

    Args:
        spec, weights, opset, preprocess, flip, normalize, processor, classes, metadata: as
            `build_onnx` takes them.
        path: a new or existing .onnx file; it is replaced only by a model that passed.
        reference: the framework's embeddings of preprocessed images [N, 3, H, W].
        largest: bytes of the file; a larger model has its tensors beside it, in NAME.onnx.data.

    Raises:
        MarginfaceError: ONNX Runtime and the framework disagree, or the path is no .onnx file.
    """
    path = Path(path)
    check_path(path)
    model = build_onnx(
        spec,
        weights,
        opset=opset,
        preprocess=preprocess,
        flip=flip,
        normalize=normalize,
        processor=processor,
        classes=classes,
        metadata=metadata,
    )
    with replacing_model(path) as part:
        save_model(model, part, largest=largest)
        session = OnnxSession(part, provider="cpu")
        if session.batch is not None:
            raise MarginfaceError(
                f"the graph takes batches of {session.batch} only, expected any; nothing was "
                "written"
            )
        expected = _with_mirror(reference) if flip else reference
        if classes is not None:
            check_classes(part, classes)
        _check(session, spec, expected, preprocess=preprocess, normalize=normalize)
    return path


def _with_mirror(embed: Embed) -> Embed:
    return lambda images: embed(images) + embed(np.ascontiguousarray(images[..., ::-1]))


def _check(
    session: OnnxSession, spec: ModelSpec, reference: Embed, *, preprocess: bool, normalize: bool
) -> None:
    difference = largest_difference(
        session, spec, reference, preprocess=preprocess, normalize=normalize
    )
    if not difference <= TOLERANCE:
        raise MarginfaceError(
            f"ONNX Runtime's embeddings differ from the framework's by {difference:.2g} of their "
            f"length (allowed {TOLERANCE:g}); nothing was written; was a layer of the backbone "
            "replaced, does it compute in half precision, or has it taken a few steps only, after "
            "which rounding can show as much?"
        )


def largest_difference(
    session: OnnxSession, spec: ModelSpec, reference: Embed, *, preprocess: bool, normalize: bool
) -> float:
    """Return the largest difference on seeded images, in lengths of the framework's embedding.

    What the graph gives is taken as it comes: with `normalize` it must have length 1, without it
    the length of the framework's embedding.
    """
    rng = np.random.default_rng(0)
    differences = []
    for batch in BATCHES:
        pixels = rng.integers(0, 256, (batch, *spec.input_size, 3), np.uint8)
        images = spec.preprocessing.scale(pixels)
        expected = np.asarray(
            reference(images), np.float64
        )  # norms of a fresh IResNet overflow float32
        if len(directionless(expected)):
            raise MarginfaceError(
                f"backbone '{spec.backbone}' gives embeddings of length zero, NaN or infinite; "
                "are its weights finite and trained?"
            )
        length = np.linalg.norm(expected, axis=1, keepdims=True)
        embeddings = session(pixels if preprocess else images)
        unit = embeddings if normalize else embeddings / length
        differences.append(np.abs(unit - expected / length).max())
    return float(np.max(differences))  # not Python's max, which would pass over NaN
