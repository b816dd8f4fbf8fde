"""Frozen parts, unfreezing and rates by part: the same run in both frameworks."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework
from layer_cases import ROWS

from marginface import losses
from marginface.backbones import draw_backbone
from marginface.backbones.parts import Tuning, arrays_of
from marginface.errors import MarginfaceError
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW, Optimizer

CLASSES, BATCH, SIDE, STEPS, RATE = 6, 8, 8, 6, 0.01
UNFREEZE = 3
NOISE = 1e-12  # a bias before a BatchNorm has gradient 0, which rounds to anything tiny
LOSS = losses.get("cosface", scale=16, margin=0.2)
ADAMW = AdamW(clip_norm=1.0)
# Every rule at once: a frozen row with BatchNorms below and above what learns.
ALL = Tuning(
    freeze=("stem", "layer2"),
    unfreeze_at=UNFREEZE,
    lr_factor={"backbone": 0.5, "layer1": 0.3, "head": 2.0},
    layer_decay=0.8,
)
REST = Tuning(freeze=("backbone",))
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
        for i, (x, y) in enumerate(batches()[first:end])
    ]


@cache
def whole(framework: type[Framework], optimizer: Optimizer) -> list[Any]:
    """Return losses and states of the whole run with every rule."""
    return run(make(framework(), ALL, optimizer))


@pytest.mark.parametrize("optimizer", [SGD(), ADAMW], ids=["sgd", "adamw"])
def test_same_run(torch: Framework, tf: Framework, optimizer: Optimizer) -> None:
    found, expected = (whole(type(each), optimizer) for each in (tf, torch))
    assert_same_losses([r.loss for r, _ in found], [r.loss for r, _ in expected], 1e-9)
    for (report, state), (wanted, arrays) in zip(found, expected, strict=True):
        assert report.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-8)
        assert_same_arrays(state, arrays, rtol=1e-8, atol=NOISE)


@pytest.mark.parametrize("optimizer", [SGD(), ADAMW], ids=["sgd", "adamw"])
def test_frozen_parts_rest_until_they_learn(framework: Framework, optimizer: Optimizer) -> None:
    """Weights, statistics and slots; what is not frozen moves in every step."""
    resting = set(arrays_of(GRAPH, ALL.frozen_layers(GRAPH)))
    assert {"backbone.bn1.running_mean", "backbone.layer2.0.conv.weight"} < resting
    trained = {f"backbone.{name}" for name in GRAPH.parameters()} - {"backbone.features.weight"}
    before = state_of(make(framework, ALL, optimizer))
    for step, (_, state) in enumerate(whole(type(framework), optimizer)):
        moved = {name for name in trained if not np.array_equal(before[name], state[name])}
        assert moved == (trained - resting if step < UNFREEZE else trained)
        slots = {n for n in state if n.split(".", 2)[-1] in resting and n not in resting}
        assert slots
        assert any(state[name].any() for name in slots) == (step >= UNFREEZE)
        before = state


@cache
def taker(framework: type[Framework]) -> Any:
    """Return a learner to load states into; its graph is traced once for all of them."""
    return make(framework(), ALL)


@pytest.mark.parametrize("stop", [UNFREEZE - 1, UNFREEZE, UNFREEZE + 1])
def test_goes_on_before_and_after_they_learn(torch: Framework, tf: Framework, stop: int) -> None:
    """Bit for bit in the same framework, and in the other one."""
    for own, other in ((torch, tf), (tf, torch)):
        states = [state for _, state in whole(type(own), SGD())]
        for framework in (own, other):
            learner = taker(type(framework))
            learner.load_arrays(states[stop - 1])
            found = run(learner, stop, stop + 2)[-1][1]
            close = {"rtol": 0.0} if framework is own else {"rtol": 1e-8, "atol": NOISE}
            assert_same_arrays(found, states[stop + 1], **close)


def test_a_factor_is_a_rate(framework: Framework) -> None:
    """A half of the rate for each part, which comes before the backbone's, is half of the rate."""
    halves = dict.fromkeys(("stem", "layer1", "layer2", "fc", "features", "head"), 0.5)
    expected = run(make(framework, Tuning()), end=3, rate=RATE / 2)[-1][1]
    found = run(make(framework, Tuning(lr_factor={"backbone": 3, **halves})), end=3)[-1][1]
    assert_same_arrays(found, expected, rtol=0)


@pytest.mark.parametrize("optimizer", [SGD(), ADAMW], ids=["sgd", "adamw"])
def test_the_first_step_of_unfrozen_parts_is_a_first_step(
    framework: Framework, optimizer: Optimizer
) -> None:
    """From slots of zero, with AdamW's corrections of step 1, at the part's own rate."""
    states = [state for _, state in whole(type(framework), optimizer)]
    name = "backbone.layer2.0.conv.weight"
    before, after = (states[step][name] for step in (UNFREEZE - 1, UNFREEZE))
    slots = {slot: states[UNFREEZE][f"optimizer.{slot}.{name}"] for slot in optimizer.slots}
    if isinstance(optimizer, AdamW):
        gradient = slots["first"] / (1 - optimizer.beta1)
    else:
        gradient = slots["momentum"] - optimizer.weight_decay * before
    zeros = {slot: np.zeros_like(before) for slot in optimizer.slots}
    rate = RATE * ALL.factors(GRAPH)[name]
    wanted, _ = optimizer.update(before, gradient, zeros, rate, 1, decay=True)
    np.testing.assert_allclose(after - before, wanted - before, rtol=1e-6, atol=1e-15)
    assert np.abs(after - before).max() > 1e-6


@pytest.mark.parametrize("optimizer", [SGD(), AdamW()], ids=["sgd", "adamw"])
def test_a_backbone_at_rest(framework: Framework, optimizer: Optimizer) -> None:
    """It has no slots and computes as in inference, and the head learns on it."""
    learner = make(framework, REST, optimizer)
    before = state_of(learner)
    slots = {name for name in before if name.startswith("optimizer.") and "backbone" in name}
    assert not slots
    (report, after), *_ = run(learner, end=1)
    assert report.gradient_norm == 0
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert "head.weight" in changed
    assert not any(name.startswith("backbone.") for name in changed)


@pytest.mark.parametrize("part", ["stem", "fc"])
def test_a_part_at_rest_normalises_by_its_statistics(framework: Framework, part: str) -> None:
    """They decide the loss where the part with the BatchNorm rests, and nowhere else."""
    learner = make(framework, Tuning(freeze=(part,)))
    start, name = state_of(learner), "backbone.bn1.running_var"
    found = []
    for variance in (1.0, 4.0):
        learner.load_arrays(start | {name: np.full_like(start[name], variance)})
        found.append(run(learner, end=1)[0][0].loss)
    assert (found[0] != found[1]) is (part == "stem")


def test_frozen_statistics_stay_while_all_weights_learn(torch: Framework, tf: Framework) -> None:
    still, names = Tuning(frozen_statistics=True), GRAPH.parameters()
    moving = {f"backbone.{name}" for name, array in names.items() if array.trainable}
    runs = [run(make(framework, still), end=3) for framework in (torch, tf)]
    assert_same_losses(*([report.loss for report, _ in each] for each in runs), 1e-9)
    for framework, taken in zip((torch, tf), runs, strict=True):
        start, (_, end) = state_of(make(framework, still)), taken[-1]
        moved = {name for name in start if not np.array_equal(start[name], end[name])}
        assert {name for name in moved if name.startswith("backbone.")} == moving
        assert_same_arrays(end, runs[0][-1][1], rtol=1e-8, atol=NOISE)


def test_a_part_that_is_not_there_is_refused(framework: Framework) -> None:
    with pytest.raises(MarginfaceError, match="did you mean 'layer2'"):
        make(framework, Tuning(freeze=("layer3",)))
