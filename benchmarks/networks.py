"""Inference of every network beside iresnet50's, in ONNX Runtime, PyTorch and TensorFlow.

python benchmarks/networks.py docs/backbones_speed.json          every network; half an hour
python benchmarks/networks.py docs/backbones_speed.json --backbones vit_t      one row anew
python -m marginface.backbones.page docs/backbones.md            writes the figures into the page
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import typer
from harness import Work, interleave, ratios, show, write

from marginface import backbones
from marginface.backbones.page import BUILT_IN, RUNTIMES
from marginface.backend import load_backend
from marginface.model import ModelSpec
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx

BASE = "iresnet50"


def main(
    output: Path,
    backbones_: list[str] = typer.Option(BUILT_IN, "--backbones"),  # noqa: B008 - typer's way
    batch: int = 4,
    rounds: int = 3,
    threads: int = 1,  # two meet after each layer: on a shared machine small networks only wait
    side: int = 112,
) -> None:
    """Time each network in turns with iresnet50; other rows of a file of the same settings stay."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    images = np.random.default_rng(0).normal(size=(batch, 3, side, side)).astype(np.float32)
    base = embedders(BASE, images, threads)
    settings = {"base": BASE, "batch": batch, "side": side, "rounds": rounds, "threads": threads}
    before = json.loads(output.read_text("utf-8")) if output.exists() else {}
    times = before["times"] if settings.items() <= before.items() else {}
    for name in backbones_:
        times[name] = beside(base, embedders(name, images, threads), rounds, turns(name, side))
        write(output, **settings, times=times)
    rows = [
        (name, runtime, *(f"{value:.2f}" for value in times[name][runtime]))
        for name in backbones_
        for runtime in RUNTIMES
    ]
    title = f"inference, batch {batch}, times {BASE}"
    show(title, ("network", "runtime"), ("median", "smallest", "largest"), rows)


def embedders(name: str, images: np.ndarray, threads: int) -> dict[str, Work]:
    """Return what embeds the images in each runtime, once all are seen to agree."""
    spec = ModelSpec(name, 512, images.shape[2:])
    weights = backbones.initial_weights(spec.graph(), 0)
    onnx = build_onnx(spec, weights).SerializeToString()
    runs = {"onnx": OnnxSession(onnx, threads=threads)} | {
        backend: load_backend(backend).create_embedder(spec, weights, threads=threads)
        for backend in ("torch", "tf")
    }
    expected = runs["onnx"](images).astype(
        np.float64
    )  # squares of a fresh IResNet overflow float32
    lengths = np.linalg.norm(expected, axis=1)
    for runtime, run in runs.items():
        # Of a fresh network a gate may flip by rounding: that is one image, a mistake is in all.
        apart = np.linalg.norm(run(images) - expected, axis=1) / lengths
        assert np.median(apart) < 1e-3, (name, runtime, apart)
    return {runtime: lambda run=run: run(images) for runtime, run in runs.items()}


def turns(name: str, side: int) -> int:
    """Return how many calls do about the work of one of iresnet50: short ones are hard to time."""
    base, own = (backbones.describe(n, 512, (side, side)).multiply_adds() for n in (BASE, name))
    return min(max(round(base / own), 1), 20)


def beside(
    base: dict[str, Work], own: dict[str, Work], rounds: int, calls: int
) -> dict[str, list[float]]:
    """Return how many times as fast as the base a network is: median, least, most, by runtime."""

    def repeated(work: Work) -> Work:
        return lambda: [work() for _ in range(calls)]

    found = {}
    for runtime in RUNTIMES:
        rivals = {"base": base[runtime], "own": repeated(own[runtime])}
        seconds = interleave(rivals, rounds=rounds, repeats=1, warm_up=1)
        seconds["own"] = [each / calls for each in seconds["own"]]
        found[runtime] = [round(value, 3) for value in ratios(seconds, "base", "own")]
    return found


if __name__ == "__main__":
    typer.run(main)
