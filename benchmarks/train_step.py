"""Images a second of a whole training step, against a plain loop in the same framework.

python benchmarks/train_step.py --backend torch --backbones mbf,mobilefacenet,iresnet50
python benchmarks/train_step.py --backend tf --backbones mobilefacenet

`train.py` has the loader, too.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from harness import Work, interleave, report
from learners import learner

from marginface import backbones
from marginface.backend import load_backend
from marginface.heads.initial import InitialHead
from marginface.learner import Learner

CLASSES, SCALE, MARGIN = 1000, 16.0, 0.2


def main(
    backend: str = "torch",
    backbones_: Annotated[str, typer.Option("--backbones")] = "mbf,mobilefacenet,iresnet50",
    batch: int = 32,
    rounds: int = 5,
    repeats: int = 3,
    threads: int = 2,
    compiled: bool = True,
    output: Path | None = None,
) -> None:
    """Time training steps of each backbone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 112, 112, 3), np.uint8)
    labels = rng.integers(0, CLASSES, batch)
    results = {}
    for name in backbones_.split(","):
        rivals = _rivals(backend, name, images, labels, threads, compiled)
        first = {rival: work() for rival, work in rivals.items()}
        spread = max(first.values()) - min(first.values())  # the same weights, the same batch
        allowed = 1e-2 if not backbones.describe(name, 512).noise() else 0.2  # draws of their own
        if not spread <= allowed * min(first.values()):
            raise SystemExit(f"{name}: rivals disagree on the first loss: {first}")
        results[name] = interleave(rivals, rounds=rounds, repeats=repeats)
    report(f"training step, {backend}, batch {batch}", results, batch, "plain", output)


def _rivals(
    backend: str, name: str, images: np.ndarray, labels: np.ndarray, threads: int, compiled: bool
) -> dict[str, Work]:
    made = partial(learner, load_backend(backend), name, CLASSES, scale=SCALE, margin=MARGIN)
    ours = made(threads=threads)  # sets the threads, so it comes first
    head = np.asarray(InitialHead((CLASSES, 512), 0))
    graph = backbones.describe(name, 512)
    weights = backbones.initial_weights(graph, 0)
    if backend == "torch":
        from plain_networks import plain_network
        from plain_torch import PlainArcFace, plain_step

        network = plain_network(name, weights)
        plain = plain_step(network, PlainArcFace(head, SCALE, MARGIN), images, labels)
    else:
        from plain_keras import plain_model, plain_step

        network = plain_model(graph, weights)
        plain = plain_step(network, head, SCALE, MARGIN, images, labels)

    steps = count()

    def step(learner: Learner) -> float:
        noise = backbones.draw_backbone(graph, 0, next(steps), len(images))
        return learner.step(images, labels, 0.01, noise).loss

    rivals: dict[str, Work] = {"plain": plain, "marginface": lambda: step(ours)}
    if backend == "torch" and compiled:
        fast = made(threads=threads)
        fast.compile()
        rivals["marginface compiled"] = lambda: step(fast)
    return rivals


if __name__ == "__main__":
    typer.run(main)
