"""A tiny network and a few drawn identities, so that all losses can be trained within seconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from comparison import state_of
from frameworks import Framework

from marginface import backbones, losses
from marginface.backbones.graph import IMAGES, Graph
from marginface.learner import LearnerSpec
from marginface.losses import MarginLoss
from marginface.model import ModelSpec
from marginface.optimizers import SGD

CLASSES, BATCH, SIDE = 6, 12, 8
MODEL = ModelSpec("tiny", 16, (SIDE, SIDE))
# What reaches the floor soonest: logits that keep the embedding's norm take larger steps.
RATES = {"softmax": 0.05, "sphereface": 0.05}
RATE = 0.02


def tiny(graph: Graph, dropout: float) -> None:
    """Append one convolution over patches and a linear layer; embeddings may have any norm."""
    x = graph.prelu("prelu", graph.batch_norm("bn", graph.conv("conv", IMAGES, 8, 4, stride=4)))
    graph.linear("linear", graph.dropout(graph.flatten(x), dropout), 16, bias=False)


backbones.register_backbone("tiny", tiny)


def images_of(labels: Any, seed: int, noise: float = 30.0) -> Any:
    """Return an image for each label: its identity's pattern under noise."""
    patterns = np.random.default_rng(99).uniform(64, 192, (CLASSES, SIDE, SIDE, 3))
    drawn = np.random.default_rng(seed).normal(0, noise, (len(labels), SIDE, SIDE, 3))
    return (patterns[labels] + drawn).clip(0, 255).astype(np.uint8)


TRAINING = np.arange(4 * BATCH) % CLASSES
HELD_OUT = np.arange(10 * CLASSES) % CLASSES


def batches(steps: int, *, shuffled: bool = False) -> list[Any]:
    """Return batches from 48 images in changing order, or with labels that mean nothing."""
    images, rng = images_of(TRAINING, seed=1), np.random.default_rng(2)
    batches = []
    for _ in range(steps):
        chosen = rng.permutation(len(TRAINING))[:BATCH]
        labels = TRAINING[chosen]
        batches.append((images[chosen], rng.permutation(labels) if shuffled else labels))
    return batches


@cache
def _learner(framework: type[Framework], loss: MarginLoss, dtype: str) -> tuple[Any, Any]:
    """Return a learner and its first state; a graph is traced once for all tests."""
    spec = LearnerSpec(MODEL, loss, CLASSES, SGD(), seed=0, dtype=dtype)
    made = framework().backend.create_learner(spec)
    return made, state_of(made)


def fresh(framework: Framework, loss: MarginLoss, dtype: str = "float64") -> Any:
    """Return a learner at its start."""
    made, state = _learner(type(framework), loss, dtype)
    made.load_arrays(state)
    return made


def train(learner: Any, loss: MarginLoss, data: list[Any], rate: float, first: int = 0) -> Any:
    """Take a step on each batch; return the losses. Draws follow from the step's number."""
    return [
        learner.step(
            images, labels, rate, loss.draw(np.random.default_rng([5, first + i]), len(labels))
        ).loss
        for i, (images, labels) in enumerate(data)
    ]


def class_cosines(learner: Any, loss: MarginLoss, images: Any) -> Any:
    """Return the cosines of images to every class [images, classes]."""
    x, w = learner.embed(images), state_of(learner)["head.weight"]
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, w)]
    return (units[0] @ units[1].T).reshape(len(x), -1, loss.num_centers).max(2)


def accuracy(learner: Any, loss: MarginLoss) -> float:
    """Return how many held-out images are nearest to their own class."""
    cosines = class_cosines(learner, loss, images_of(HELD_OUT, seed=3))
    return float((cosines.argmax(1) == HELD_OUT).mean())


def all_losses() -> list[MarginLoss]:
    """Return every loss with its defaults, but that what begins late begins soon."""
    return [soon(name) for name in losses.names()]


def soon(name: str) -> MarginLoss:
    """Return a loss with its defaults, but that what begins late begins soon."""
    late = "start_step" in losses.parameters(name)
    return losses.get(name, **({"start_step": 3} if late else {}))
