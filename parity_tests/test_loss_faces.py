"""Every loss in training on real faces: it tells people apart on images that it has not seen."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from frameworks import Framework
from PIL import Image
from real_faces import FACES, needs_faces
from tiny_training import all_losses, class_cosines

from marginface.learner import LearnerSpec
from marginface.losses import MarginLoss
from marginface.model import ModelSpec
from marginface.optimizers import SGD

PEOPLE, TRAINED, HELD_OUT, SIDE = 8, 32, 12, 28  # images of each; squares of 4 pixels averaged
BATCH, STEPS, RATE = 16, 120, 0.05
FLOOR = 0.6  # chance is 1 / 8

pytestmark = [pytest.mark.slow, needs_faces]


@cache
def faces() -> tuple[Any, Any, Any, Any]:
    """Return images and labels to train with, and others of the same people."""
    folders = sorted((FACES / "lfw112" / "train").iterdir(), key=lambda each: each.name)
    most = sorted(folders, key=lambda each: -sum(1 for _ in each.iterdir()))[:PEOPLE]
    parts: list[list[Any]] = [[], []]
    for folder in most:
        paths = sorted(folder.iterdir())[: TRAINED + HELD_OUT]
        images = [np.asarray(Image.open(path).convert("RGB").reduce(4)) for path in paths]
        assert images[0].shape == (SIDE, SIDE, 3)
        parts[0] += images[:TRAINED]
        parts[1] += images[TRAINED:]
    labels = [np.repeat(np.arange(PEOPLE), count) for count in (TRAINED, HELD_OUT)]
    return np.stack(parts[0]), labels[0], np.stack(parts[1]), labels[1]


def accuracy(framework: Framework, loss: MarginLoss, *, steps: int, shuffled: bool) -> float:
    """Return the share of unseen images that are nearest to their own class, after training."""
    spec = LearnerSpec(ModelSpec("tiny", 16, (SIDE, SIDE)), loss, PEOPLE, SGD(), seed=0)
    learner = framework.backend.create_learner(spec)
    images, labels, unseen, people = faces()
    rng = np.random.default_rng(0)
    if shuffled:
        labels = rng.permutation(labels)
    for step in range(steps):
        chosen = rng.permutation(len(labels))[:BATCH]
        drawn = loss.draw(np.random.default_rng([1, step]), BATCH)
        rate = RATE * (1 - step / steps)
        learner.step(images[chosen], labels[chosen], rate, drawn)
    return float((class_cosines(learner, loss, unseen).argmax(1) == people).mean())


@pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: loss.name)
def test_people_are_told_apart(framework: Framework, loss: MarginLoss) -> None:
    assert accuracy(framework, loss, steps=STEPS, shuffled=False) >= FLOOR


@pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: loss.name)
def test_labels_that_mean_nothing_tell_nobody_apart(torch: Framework, loss: MarginLoss) -> None:
    assert accuracy(torch, loss, steps=STEPS, shuffled=True) < FLOOR / 2
