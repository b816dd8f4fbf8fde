"""The learner that benchmarks time: ArcFace on a network with fresh weights."""

from __future__ import annotations

from typing import Any

from marginface import losses
from marginface.backend import Backend
from marginface.learner import Learner, LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

EMBEDDING = 512


def learner(
    backend: Backend,
    backbone: str,
    classes: int,
    *,
    embedding_size: int = EMBEDDING,
    side: int = 112,
    scale: float = 64.0,
    margin: float = 0.5,
    **options: Any,
) -> Learner:
    """Return a framework's learner; further options are those of `LearnerSpec`."""
    return backend.create_learner(
        LearnerSpec(
            ModelSpec(backbone, embedding_size, (side, side)),
            losses.get("arcface", scale=scale, margin=margin),
            classes,
            SGD(weight_decay=5e-4),
            seed=0,
            **options,
        )
    )
