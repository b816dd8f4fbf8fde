"""The metrics of a training batch: the oracle's, before the step, and the step is the same."""

from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, state_of
from frameworks import Framework
from tiny_training import CLASSES, MODEL, batches, fresh, images_of

from marginface import backbones, losses
from marginface.backbones.graph import IMAGES, Graph
from marginface.heads import draw_step, measure
from marginface.learner import LearnerSpec
from marginface.losses import MarginLoss
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW

CASES = ["arcface", "subcenter_arcface", "softmax", "adaface"]


def plain(graph: Graph, dropout: float) -> None:
    """Append a linear layer: training sees the same embeddings as inference."""
    del dropout
    graph.linear("linear", graph.flatten(IMAGES), 16, bias=False)


backbones.register_backbone("tiny_plain", plain)


@pytest.mark.parametrize("name", CASES)
def test_a_measured_step_is_the_same_step(framework: Framework, name: str) -> None:
    loss, ends, steps = losses.get(name), [], []
    for asked in (False, True):
        learner = fresh(framework, loss)
        steps.append([learner.step(*each, 0.02, {}, measure=asked) for each in batches(2)])
        ends.append(state_of(learner))
    assert [each.metrics for each in steps[0]] == [None, None]
    assert [each[:2] for each in steps[0]] == [each[:2] for each in steps[1]]
    assert_same_arrays(ends[1], ends[0], rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_both_frameworks_measure_the_same(torch: Framework, tf: Framework, name: str) -> None:
    found = []
    for framework in (torch, tf):
        learner, results = fresh(framework, losses.get(name)), []
        for each in batches(4):
            results.append(learner.step(*each, 0.02, {}, measure=True).metrics)
        found.append(results)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    assert len({each.target_angle for each in found[0]}) == 4


def of_spec(
    loss: MarginLoss, embeddings: Any, state: Any, labels: Any, classes: Any
) -> tuple[float, float]:
    """Return the oracle's metrics over some of the classes."""
    centers = loss.num_centers
    rows = (np.asarray(classes)[:, None] * centers + np.arange(centers)).ravel()
    bias = state.get("head.bias")
    bias = bias if bias is None or len(bias) == 1 else bias[classes]
    places = np.searchsorted(classes, labels)
    return measure(loss, embeddings, state["head.weight"][rows], places, bias)


@pytest.mark.parametrize(
    ("name", "optimizer", "rate"),
    [
        ("arcface", SGD(), 1.0),
        ("arcface", AdamW(), 1.0),
        ("softmax", SGD(), 1.0),
        ("sphereface2", SGD(), 0.5),
        ("subcenter_arcface", SGD(), 0.5),
    ],
)
def test_they_are_the_oracles_over_the_classes_looked_at(
    framework: Framework, name: str, optimizer: Any, rate: float
) -> None:
    loss = losses.get(name)
    model = ModelSpec("tiny_plain", 16, MODEL.input_size)
    spec = LearnerSpec(model, loss, CLASSES, optimizer, 0, dtype="float64", sample_rate=rate)
    learner = framework.backend.create_learner(spec)
    labels = np.array([0, 1, 0, 1, 4, 4])
    for step in range(2):
        images = images_of(labels, seed=step)
        draw = draw_step(loss, np.random.default_rng(step), labels, CLASSES, rate)
        classes = draw.get("classes", np.arange(CLASSES))
        wanted = of_spec(loss, learner.embed(images), state_of(learner), labels, classes)
        found = learner.step(images, labels, 0.05, draw, measure=True).metrics
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
