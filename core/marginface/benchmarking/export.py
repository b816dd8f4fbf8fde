"""Embeddings from exported graphs in ONNX Runtime, beside the framework that they come from."""

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

BASE = "graph for any"


def measure(
    backend: str,
    names: Sequence[str],
    batches: Sequence[int],
    *,
    rounds: int,
    threads: int | None = None,
    device: str = "auto",
    provider: str = "auto",
) -> list[Cost]:
    """Return the costs of embedding a batch, for each backbone and size of a batch."""
    framework = load_backend(backend)
    costs = []
    for name in names:
        model = ModelSpec(name, 512)
        weights = backbones.initial_weights(backbones.describe(name, 512), 0)
        embed = framework.create_embedder(model, weights, threads=threads, device=device)
        graphs = {
            BASE: build_onnx(model, weights),
            "graph for a CPU": build_onnx(model, weights, processor="cpu"),
        }
        sessions = {
            graph: OnnxSession(each.SerializeToString(), threads=threads, provider=provider)
            for graph, each in graphs.items()
        }
        for batch in batches:
            images = np.random.default_rng(0).normal(size=(batch, 3, 112, 112)).astype(np.float32)
            works = {
                **{graph: _norm_of(session, images) for graph, session in sessions.items()},
                "framework": _norm_of(embed, images),
            }
            costs += take_turns(backend, f"{name}, batch {batch}", BASE, works, rounds=rounds)
    return costs


def _norm_of(embed: Callable[[NDArray[Any]], NDArray[Any]], images: Any) -> Callable[[], float]:
    # In float64: norms of a fresh IResNet overflow float32.
    return lambda: float(np.linalg.norm(embed(images).astype(np.float64)))
