"""The ways of a head over its classes: in blocks, in one, with the update, sampled, in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from marginface import losses
from marginface.backend import load_backend
from marginface.benchmarking.cost import Cost, take_turns
from marginface.benchmarking.losses import case_of, inputs
from marginface.heads.sampling import draw_step
from marginface.optimizers import SGD

BASE = "blocks"
LOSS = "arcface"


def ways(classes: int) -> dict[str, Mapping[str, Any]]:
    """Return the options of each way; those of the base are none."""
    return {
        BASE: {},
        "one block": {"block": classes},
        "bfloat16": {"precision": "bfloat16"},
        "update inside": {"update": SGD()},
        "sampled 0.1": {"update": SGD(), "sample_rate": 0.1},
    }


def measure(
    backend: str,
    batch: int,
    classes: int,
    *,
    rounds: int,
    threads: int | None = None,
    device: str = "auto",
) -> list[Cost]:
    """Return the costs of forward and backward, and of the update where it is inside."""
    framework, loss = load_backend(backend), losses.get(LOSS)
    embeddings, labels = inputs(batch, classes)
    works = {}
    for name, options in ways(classes).items():
        share = options.get("sample_rate", 1.0)
        draw = draw_step(loss, np.random.default_rng(1), labels, classes, share)
        works[name] = framework.loss_step(
            loss, embeddings, labels, classes, draw, threads=threads, device=device, **options
        )
    return take_turns(backend, case_of(batch, classes), BASE, works, rounds=rounds)
