"""Whole training steps of backbones: forward, backward and update on a fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from marginface import losses
from marginface.backend import load_backend
from marginface.benchmarking.cost import Cost, take_turns
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

CLASSES = 1000


def measure(
    backend: str,
    names: Sequence[str],
    batch: int,
    *,
    rounds: int,
    threads: int | None = None,
    device: str = "auto",
) -> list[Cost]:
    """Return the costs of a step of each backbone; the first one is the base."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 112, 112, 3), np.uint8)
    labels = rng.integers(0, CLASSES, batch)
    framework = load_backend(backend)
    works = {}
    for name in names:
        spec = LearnerSpec(
            ModelSpec(name, 512),
            losses.get("arcface", scale=16.0, margin=0.2),
            CLASSES,
            SGD(weight_decay=5e-4),
            seed=0,
            threads=threads,
            device=device,
        )
        works[name] = _stepping(framework.create_learner(spec), images, labels)
    case = f"batch {batch}, {CLASSES:,} classes"
    return take_turns(backend, case, names[0], works, rounds=rounds)


def _stepping(learner: Any, images: Any, labels: Any) -> Callable[[], float]:
    return lambda: float(learner.step(images, labels, 0.001, {}).loss)
