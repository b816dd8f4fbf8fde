"""Embeddings from an exported graph in ONNX Runtime, beside the framework that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import backbones
from marginface.backend import load_backend
from marginface.benchmarking.cost import Cost, take_turns
from marginface.model import ModelSpec
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx

BASE = "framework"


def measure(
    backend: str,
    names: Sequence[str],
    batches: Sequence[int],
    *,
    rounds: int,
    threads: int | None = None,
) -> list[Cost]:
    """Return the costs of embedding a batch, for each backbone and size of a batch."""
    framework = load_backend(backend)
    costs = []
    for name in names:
        model = ModelSpec(name, 512)
        weights = backbones.initial_weights(backbones.describe(name, 512), 0)
        embed = framework.create_embedder(model, weights, threads=threads)
        session = OnnxSession(build_onnx(model, weights).SerializeToString(), threads=threads)
        for batch in batches:
            images = np.random.default_rng(0).normal(size=(batch, 3, 112, 112)).astype(np.float32)
            works = {
                BASE: _norm_of(embed, images),
                "ONNX Runtime": _norm_of(session, images),
            }
            costs += take_turns(backend, f"{name}, batch {batch}", BASE, works, rounds=rounds)
    return costs


def _norm_of(embed: Callable[[NDArray[Any]], NDArray[Any]], images: Any) -> Callable[[], float]:
    return lambda: float(np.linalg.norm(embed(images)))
