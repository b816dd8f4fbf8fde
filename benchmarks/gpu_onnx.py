"""Embeddings by ONNX Runtime on a GPU, beside the framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gpu_timing import Skipped, median, start, tell
from learners import EMBEDDING

import marginface_torch
from marginface import backbones
from marginface.benchmarking import interleave
from marginface.errors import MarginfaceError
from marginface.model import ModelSpec

# Of the largest value: ONNX Runtime rounds to TF32 in convolutions on a GPU.
ALLOWED = {"cpu": 1e-3, "cuda": 5e-2}


def main(device: torch.device, sizes: dict[str, Any]) -> None:
    """Embed a batch with the provider of the device and with PyTorch, in turns."""
    from marginface.onnx.session import OnnxSession
    from marginface.onnx.writer import build_onnx

    batch, size = sizes["batch"], (sizes["side"], sizes["side"])
    model = ModelSpec(sizes["backbone"], EMBEDDING, size)
    weights = backbones.initial_weights(backbones.describe(model.backbone, EMBEDDING, size), 0)
    graph = build_onnx(model, weights).SerializeToString()
    try:
        session = OnnxSession(graph, provider=device.type)
    except MarginfaceError as error:
        raise Skipped(str(error)) from error
    ours = marginface_torch.create_embedder(model, weights, device=str(device))
    images = np.random.default_rng(0).normal(size=(batch, 3, *size)).astype(np.float32)
    wanted, found = (embed(images).astype(np.float64) for embed in (ours, session))
    off = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not off < ALLOWED[device.type]:
        raise SystemExit(f"ONNX Runtime's embeddings are off by {off:.3g} of the largest value")
    rivals = {
        "framework": lambda: ours(images),
        f"ONNX Runtime, {device.type}": lambda: session(images),
    }
    seconds = interleave(rivals, rounds=sizes["rounds"], repeats=1)
    speeds = {name: batch / median({"seconds": each}) for name, each in seconds.items()}
    tell({"images/s": speeds, "off": {"ONNX Runtime": off}})


if __name__ == "__main__":
    start(main)
