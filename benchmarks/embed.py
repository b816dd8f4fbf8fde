"""Images a second of inference: each backend and ONNX Runtime, against a plain loop.

python benchmarks/embed.py --backend torch --backbones mbf,mobilefacenet,iresnet50
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Work, interleave, report

from marginface import backbones
from marginface.backend import load_backend
from marginface.model import ModelSpec
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx


def main(
    backend: str = "torch",
    backbones_: Annotated[str, typer.Option("--backbones")] = "mbf,mobilefacenet,iresnet50",
    batch: int = 32,
    rounds: int = 5,
    repeats: int = 4,
    threads: int = 2,
    output: Path | None = None,
) -> None:
    """Time inference of each backbone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    images = np.random.default_rng(0).normal(size=(batch, 3, 112, 112)).astype(np.float32)
    results = {}
    for name in backbones_.split(","):
        graph = backbones.describe(name, 512)
        weights = backbones.initial_weights(graph, 0)
        spec = ModelSpec(name, 512)
        ours = load_backend(backend).create_embedder(spec, weights, threads=threads)
        session = OnnxSession(build_onnx(spec, weights).SerializeToString(), threads=threads)
        plain = _plain(backend, name, weights)
        expected = plain(images)
        for embed in (ours, session):
            np.testing.assert_allclose(embed(images), expected, atol=1e-3 * np.abs(expected).max())
        rivals: dict[str, Work] = {
            "plain": lambda plain=plain: plain(images),
            "marginface": lambda ours=ours: ours(images),
            "marginface, ONNX Runtime": lambda session=session: session(images),
        }
        results[name] = interleave(rivals, rounds=rounds, repeats=repeats)
    report(f"inference, {backend}, batch {batch}", results, batch, "plain", output)


def _plain(backend: str, name: str, weights: dict[str, np.ndarray]):
    if backend == "torch":
        import torch
        from plain_networks import plain_network

        network = plain_network(name, weights).eval()

        def plain(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return network(torch.from_numpy(images)).numpy()

        return plain
    import tensorflow as tf
    from plain_keras import plain_model

    model = plain_model(backbones.describe(name, 512), weights)
    call = tf.function(lambda images: model(images, training=False))
    return lambda images: call(tf.constant(images.transpose(0, 2, 3, 1))).numpy()


if __name__ == "__main__":
    typer.run(main)
