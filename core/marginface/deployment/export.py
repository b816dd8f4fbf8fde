"""Write a model to an ONNX file, once ONNX Runtime has agreed with the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.deployment.model import ModelSpec
from marginface.deployment.onnx_graph import build_onnx
from marginface.deployment.session import OnnxSession
from marginface.errors import MarginfaceError

TOLERANCE = 1e-4  # largest difference of embeddings whose length is brought to 1
BATCHES = (1, 3)

Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def export_model(
    spec: ModelSpec,
    weights: Mapping[str, NDArray[Any]],
    path: str | Path,
    *,
    reference: Embed,
    opset: int = 17,
    preprocess: bool = False,
    normalize: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the ONNX contract to `path` and return it.

    Args:
        spec, weights, opset, preprocess, normalize, metadata: as `build_onnx` takes them.
        path: a new or existing .onnx file; it is replaced only by a model that passed.
        reference: the framework's embeddings of preprocessed images [N, 3, H, W].

    Raises:
        MarginfaceError: ONNX Runtime and the framework disagree, or the path is no .onnx file.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise MarginfaceError(f"the model is written as .onnx, got '{path.name}'")
    if not path.parent.is_dir():
        raise MarginfaceError(f"folder {path.parent} does not exist; create it first")
    model = build_onnx(
        spec,
        weights,
        opset=opset,
        preprocess=preprocess,
        normalize=normalize,
        metadata=metadata,
    ).SerializeToString()
    difference = largest_difference(OnnxSession(model), spec, reference)
    if not difference <= TOLERANCE:
        raise MarginfaceError(
            f"ONNX Runtime's embeddings differ from the framework's by {difference:.2g} (allowed "
            f"{TOLERANCE:g}); nothing was written; are the weights finite?"
        )
    with replacing(path) as part:
        part.write_bytes(model)
    return path


def largest_difference(session: OnnxSession, spec: ModelSpec, reference: Embed) -> float:
    """Return the largest difference of unit embeddings on seeded images, at batch 1 and 3."""
    rng = np.random.default_rng(0)
    differences = []
    for batch in BATCHES:
        pixels = rng.integers(0, 256, (batch, *spec.input_size, 3), np.uint8)
        scaling = spec.preprocessing
        mean, std = np.array(scaling.mean, np.float32), np.array(scaling.std, np.float32)
        images = (pixels - mean) / std
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        found = _unit(session(pixels if session.takes_pixels else images))
        expected = _unit(reference(images))
        differences.append(np.abs(found - expected).max())
    return float(np.max(differences))  # not Python's max, which would pass over NaN


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)
