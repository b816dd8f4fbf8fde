"""A backbone in half precision: near the float32 run, alike in both frameworks, never a step lost.

A band is the largest distance of the loss from float32's over 20 steps, as a share of it. Measured:
2.2 % for bfloat16, whose roundings are of 2^-9, 0.25 % for float16, of 2^-12.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import test_training
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import DEVICE, Framework
from layer_cases import JOINS

from marginface import losses
from marginface.backbones.parts import Tuning
from marginface.errors import MarginfaceError
from marginface.learner import STEP, LearnerSpec
from marginface.loss_scaling import SCALE, LossScale
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW

CLASSES, BATCH, STEPS, SIDES = 6, 8, 20, (32, 32)
RATE = 1e-4  # larger ones magnify rounding, as in test_training.py
BANDS = {"tf32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}
SMALL = LossScale(2.0**8)  # which overflows nowhere here


def create(framework: Framework, precision: str, optimizer: Any = None, **how: Any) -> Any:
    model, loss = ModelSpec(JOINS, 16, SIDES), losses.get("arcface", scale=16, margin=0.3)
    spec = LearnerSpec(
        model,
        loss,
        CLASSES,
        optimizer or SGD(),
        seed=0,
        precision=precision,
        deterministic=DEVICE != "cpu",
        **how,
    )
    return framework.backend.create_learner(spec)


def batches(count: int) -> list[Any]:
    return test_training.batches(count, SIDES, BATCH)


@cache
def trajectory(framework: type[Framework], precision: str) -> tuple[list[float], Any]:
    learner = create(framework(), precision)
    if precision == "float16":
        learner.load_arrays(state_of(learner) | {SCALE: SMALL.to_array()})
    return [learner.step(*batch, RATE, {}).loss for batch in batches(STEPS)], learner


@pytest.fixture(params=list(BANDS))
def precision(request: pytest.FixtureRequest) -> str:
    if request.param == "tf32" and not DEVICE.startswith("cuda"):
        pytest.skip("tf32 is of NVIDIA's GPUs: --device cuda")
    return str(request.param)


def test_losses_stay_within_a_band(torch: Framework, tf: Framework, precision: str) -> None:
    full = [trajectory(type(each), "full")[0] for each in (torch, tf)]
    half = [trajectory(type(each), precision)[0] for each in (torch, tf)]
    for own, wanted in zip(half, full, strict=True):
        assert_same_losses(own, wanted, BANDS[precision])
        assert own != wanted
    assert_same_losses(half[1], half[0], BANDS[precision])


def test_what_is_kept_stays_float32(framework: Framework, precision: str) -> None:
    learner = trajectory(type(framework), precision)[1]
    kept = {name: array.dtype for name, array in learner.arrays() if name not in (STEP, SCALE)}
    assert set(kept.values()) == {np.dtype(np.float32)}
    embeddings = learner.embed(batches(1)[0][0])
    assert embeddings.dtype == np.float32
    assert not np.array_equal(embeddings, embeddings.astype(np.float16))  # verified in float32


@pytest.mark.parametrize(
    ("optimizer", "accumulation"), [(SGD(), 2), (AdamW(), 1)], ids=["sgd, cut", "adamw"]
)
def test_an_overflow_leaves_the_step_out(
    framework: Framework, optimizer: Any, accumulation: int
) -> None:
    """The backbone and its moments stay; the factor is halved; the step counts."""
    learner = create(framework, "float16", optimizer, accumulation=accumulation)
    (first, second) = batches(2)
    learner.load_arrays(state_of(learner) | {SCALE: SMALL.to_array()})
    assert learner.step(*first, 0.01, {}).scaling == LossScale(SMALL.factor, 1)
    before = state_of(learner)
    learner.load_arrays(before | {SCALE: LossScale(2.0**24, 7).to_array()})
    result = learner.step(*second, 0.01, {})
    assert not np.isfinite(result.gradient_norm)
    assert np.isfinite(result.loss)
    assert result.scaling == LossScale(2.0**23, 0)
    after = state_of(learner)
    assert (before[STEP], after[STEP]) == (1, 2)
    still = {n: v for n, v in before.items() if "backbone." in n and ".running_" not in n}
    assert_same_arrays({name: after[name] for name in still}, still, rtol=0)
    learner.load_arrays(after | {SCALE: SMALL.to_array()})
    again = create(framework, "float16", optimizer, accumulation=accumulation)
    again.load_arrays(state_of(learner))
    assert learner.step(*first, 0.01, {}) == again.step(*first, 0.01, {})  # in bias correction, too
    assert_same_arrays(state_of(again), state_of(learner), rtol=0)


def test_nothing_but_the_head_learns(framework: Framework) -> None:
    """Then no gradient is scaled but the head's, which divides it itself."""
    tuning = Tuning(freeze=("backbone",), frozen_statistics=True)
    learner = create(framework, "float16", tuning=tuning)
    before = state_of(learner)
    assert np.isfinite(learner.step(*batches(1)[0], 0.01, {}).loss)
    moved = {n for n, v in state_of(learner).items() if not np.array_equal(v, before[n])}
    assert "head.weight" in moved
    assert not any(name.startswith("backbone.") for name in moved)


def test_a_scaled_loss_gives_the_gradients_of_the_loss(framework: Framework) -> None:
    """In float64, where powers of two cost nothing: the scale leaves no trace."""
    found = []
    for factor in (1.0, 2.0**10):
        learner = create(framework, "full", dtype="float64")
        learner.scaling = LossScale(factor)
        found.append([learner.step(*batch, 0.01, {})[:2] for batch in batches(3)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_what_a_device_cannot(framework: Framework) -> None:
    with pytest.raises(MarginfaceError, match="precision tf32 is of NVIDIA's GPUs, and the run is"):
        create(framework, "tf32", device="cpu")
    with pytest.raises(MarginfaceError, match=r"device cuda:7 is not there: \w+ .* sees cpu"):
        create(framework, "full", device="cuda:7")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("optimizer.count.head.weight", -1, "optimizer.count.head.weight has negative numbers of"),
        (SCALE, 0, r"optimizer.loss_scale is \[0.0, 0.0\], expected a factor above 0"),
    ],
)
def test_counts_that_nobody_saved(framework: Framework, name: str, value: int, words: str) -> None:
    learner = create(framework, "float16", AdamW(), sample_rate=0.8)
    state = state_of(learner)
    with pytest.raises(MarginfaceError, match=words):
        learner.load_arrays(state | {name: np.full_like(state[name], value)})
    assert_same_arrays(state_of(learner), state, rtol=0)
