"""The demo from end to end: draw faces, train, verify before and after, export, show."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface import backbones
from marginface.backend import load_backend
from marginface.data.images import read_image
from marginface.data.verification.pairs import Pairs, read_pairs
from marginface.demo.faces import write_demo_set
from marginface.demo.page import DemoResult, write_demo_page
from marginface.embeddings.embedder import open_embedder
from marginface.evaluation.evaluate import distinct_images, embed_pairs
from marginface.model import ModelSpec
from marginface.onnx.export import export_model
from marginface.outputs import check_folder, clear, sign
from marginface.report.collect import Measured, Report, ReportModel, measure
from marginface.report.training import read_training
from marginface.runs.folder import load_run
from marginface.runs.metrics import read_metrics
from marginface.terminal import Terminal, say
from marginface.text import printable
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train
from marginface.version import __version__

IDENTITIES, IMAGES, HELD_OUT, HELD_OUT_IMAGES = 120, 20, 40, 6
EPOCHS, BATCH_SIZE = 2, 32  # with the pictures: what two cores do in some minutes
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]
COMPARED = 64  # pictures on which the exported model is compared with the framework


def demo_config(output: Path, backend: str, seed: int, device: str) -> TrainConfig:
    """Return the demo's training configuration for faces in `output`/faces."""
    steps = EPOCHS * (IDENTITIES * IMAGES // BATCH_SIZE)
    return TrainConfig(
        backend=backend,
        data=output / "faces" / "train",
        output=output / "run",
        seed=seed,
        device=device,
        loss="arcface",
        scale=16.0,
        margin=0.2,
        backbone="mobilefacenet",
        embedding_size=128,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        lr=0.1,
        warmup_steps=20,
        val_images=output / "faces" / "test",
        val_pairs=output / "faces" / "pairs.txt",
        val_every=-(-steps // 4),
        log_every=5,
        compile="off",  # compiling takes longer than it could save here
    )


def run_demo(
    output: Path,
    *,
    backend: str,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> DemoResult:
    """Run the demo, leave faces, run, model.onnx and index.html in `output`, return what it found.

    Args:
        output: folder to create.
        backend: the framework.
        seed: of faces, weights and batches.
        device: what computes.
        overwrite: replace the folder of a finished demo.

    Raises:
        MarginfaceError: `output` exists, or the backend is unknown or not installed.
        SystemExit: training was stopped by a signal.
    """
    started = time.monotonic()
    console = Terminal(stderr=True)
    check_folder(output, overwrite=overwrite)
    framework = load_backend(backend)
    config = demo_config(output, backend, seed, device)
    spec = config.model_spec()
    untrained = backbones.initial_weights(spec.graph(), seed)
    embed_untrained = framework.create_embedder(spec, untrained, device=device)
    output.mkdir(parents=True, exist_ok=True)
    clear(output)

    say(console, f"drawing {IDENTITIES + HELD_OUT} people into {output / 'faces'}")
    with console.status("drawing") as status:
        faces = write_demo_set(
            output / "faces",
            IDENTITIES,
            IMAGES,
            HELD_OUT,
            HELD_OUT_IMAGES,
            seed,
            on_progress=lambda done, total: status.update(f"drawing: {done}/{total}"),
        )
    pairs = read_pairs(faces / "pairs.txt", faces / "test")
    before = _measure("before training", spec, embed_untrained, pairs)
    accuracy = before.comparison.result.accuracy
    say(console, f"before training: verification accuracy {accuracy:.1%}")

    training_started = time.monotonic()
    trained = train(config, console=console)
    if trained.signal is not None:
        raise SystemExit(128 + trained.signal)
    training_seconds = time.monotonic() - training_started

    weights = load_run(trained.run).weights
    embed = framework.create_embedder(spec, weights, device=device, folded=False)
    after = _measure("after training", spec, embed, pairs)
    model = export_model(spec, weights, output / "model.onnx", reference=embed)
    names = distinct_images(pairs)[:COMPARED]
    pictures = np.stack([read_image(faces / "test" / name) for name in names])
    exported = open_embedder(model)(pictures)
    difference = float(np.abs(exported - embed(spec.preprocessing(pictures))).max())

    metrics = read_metrics(trained.run / "metrics.jsonl")
    seconds = time.monotonic() - started
    result = DemoResult(
        report=Report(
            (
                ReportModel("after training", read_training(trained.run)),
                ReportModel("before training"),
            ),
            (pairs,),
            ((after,), (before,)),
        ),
        summary=(
            f"{spec.backbone} with ArcFace learned from {IDENTITIES} drawn people, {IMAGES} "
            f"pictures each, with {framework.version()}. All of it took {_spoken(seconds)}."
        ),
        framework=framework.version(),
        train=faces / "train",
        training=_about_training(config, metrics, training_seconds),
        export=model,
        difference=difference,
        compared=len(names),
        embedding_size=spec.embedding_size,
        commands=_commands(output, backend),
        footer=(
            f"marginface {__version__}, {framework.version()}, "
            f"Python {platform.python_version()}, {os.cpu_count()} cores, seed {seed}"
        ),
    )
    write_demo_page(result, output)
    sign(output)
    return result


def _measure(name: str, spec: ModelSpec, run: Embed, pairs: Pairs) -> Measured:
    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(run(spec.preprocessing(pixels)), np.float32)

    return measure(name, pairs, embed_pairs(embed, pairs))


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _about_training(config: TrainConfig, metrics: list[dict[str, Any]], seconds: float) -> str:
    speeds = [line["images_per_second"] for line in metrics if line["kind"] == "train"]
    return (
        f"{metrics[-1]['step']} steps of {config.batch_size} pictures in "
        f"{timedelta(seconds=round(seconds))} with the verifications between, "
        f"{np.median(speeds):.0f} images/s. ArcFace with scale {config.scale:g} and margin "
        f"{config.margin}, SGD with a learning rate of {config.lr:g}."
    )


def _commands(output: Path, backend: str) -> str:
    """Suggest next steps, as lines for a shell."""
    folder = shlex.quote(printable(str(output)))
    other = {"torch": "tf", "tf": "torch"}.get(backend, backend)
    return f"""\
# measure the exported model
marginface evaluate --model {folder}/model.onnx \\
    --images {folder}/faces/test --pairs {folder}/faces/pairs.txt
# the embeddings of a folder of images
marginface embed --model {folder}/model.onnx --images {folder}/faces/test \\
    --output embeddings.parquet
# go on with this run in the other framework
marginface train --output {folder}/run --resume --backend {other} --epochs 4
# train on your own faces: one folder for each person
marginface train --backend {backend} --data YOUR_FACES --output runs/first \\
    --backbone mobilefacenet --embedding-size 128 --loss arcface --scale 16 --margin 0.2"""
