"""Frozen parts, unfreezing and rates by part: the same run in both frameworks."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework
from layer_cases import ROWS

from marginface import backbones, losses
from marginface.backbones import draw_backbone
from marginface.backbones.parts import Tuning
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW, Optimizer

CLASSES, BATCH, SIDE, STEPS, RATE = 6, 8, 8, 6, 0.01
UNFREEZE = 3
NOISE = 1e-12  # a bias before a BatchNorm has gradient 0, which rounds to anything tiny
LOSS = losses.get("cosface", scale=16, margin=0.2)
# Every rule at once: a frozen row with BatchNorms below and above what learns.
ALL = Tuning(
    freeze=("stem", "layer2"),
    unfreeze_at=UNFREEZE,
    lr_factor={"backbone": 0.5, "layer1": 0.3, "head": 2.0},
    layer_decay=0.8,
)
HALF = Tuning(lr_factor={"backbone": 0.5, "head": 0.5})
MODEL = ModelSpec(ROWS, 16, (SIDE, SIDE), dropout=0.2)
GRAPH = MODEL.graph()


def batches() -> list[Any]:
    rng = np.random.default_rng(3)
    return [
        (rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8), rng.integers(0, CLASSES, BATCH))
        for _ in range(STEPS)
    ]


def make(framework: Framework, tuning: Tuning, optimizer: Optimizer | None = None) -> Any:
    spec = LearnerSpec(
        MODEL, LOSS, CLASSES, optimizer or SGD(), seed=0, dtype="float64", tuning=tuning
    )
    return framework.backend.create_learner(spec)


def run(learner: Any, first: int = 0, end: int = STEPS, rate: float = RATE) -> list[Any]:
    """Take the steps from one to another; return losses and states."""
    return [
        (learner.step(x, y, rate, draw_backbone(GRAPH, 0, first + i, BATCH)), state_of(learner))
        for i, (x, y) in enumerate(batches()[first:end], 0)
    ]


@cache
def whole(framework: type[Framework], tuning: Any, optimizer: Optimizer) -> list[Any]:
    return run(make(framework(), {"all": ALL, "half": HALF}[tuning], optimizer))


@pytest.mark.parametrize("optimizer", [SGD(), AdamW(clip_norm=1.0)], ids=["sgd", "adamw"])
def test_same_run(torch: Framework, tf: Framework, optimizer: Optimizer) -> None:
    found, expected = (whole(type(each), "all", optimizer) for each in (tf, torch))
    assert_same_losses([r.loss for r, _ in found], [r.loss for r, _ in expected], 1e-9)
    for (report, state), (wanted, arrays) in zip(found, expected, strict=True):
        assert report.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-8)
        assert_same_arrays(state, arrays, rtol=1e-8, atol=NOISE)


@pytest.mark.parametrize("optimizer", [SGD(), AdamW(clip_norm=1.0)], ids=["sgd", "adamw"])
def test_frozen_parts_rest_until_they_learn(framework: Framework, optimizer: Optimizer) -> None:
    """Weights, statistics and slots; what is not frozen moves in every step."""
    resting = set(backbones.parts.arrays_of(GRAPH, ALL.frozen_layers(GRAPH)))
    assert {"backbone.bn1.running_mean", "backbone.layer2.0.conv.weight"} < resting
    trained = {f"backbone.{name}" for name in GRAPH.parameters()} - {"backbone.features.weight"}
    before = state_of(make(framework, ALL, optimizer))
    for step, (_, state) in enumerate(whole(type(framework), "all", optimizer)):
        moved = {name for name in trained if not np.array_equal(before[name], state[name])}
        assert moved == (trained - resting if step < UNFREEZE else trained)
        slots = {n for n in state if n.split(".", 2)[-1] in resting and n not in resting}
        assert slots
        assert any(state[name].any() for name in slots) == (step >= UNFREEZE)
        before = state
