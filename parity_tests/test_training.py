"""Trajectory parity: the same batches give both frameworks the same training run."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework
from layer_cases import ROWS

from marginface import losses
from marginface.errors import MarginfaceError
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW, Optimizer

CLASSES, BATCH, STEPS = 6, 8, 20
RATE = 1e-4  # larger ones magnify float32 rounding past 1e-3 within 20 steps
RTOL = {"float32": 1e-3, "float64": 1e-8}
NOISE = 1e-9  # a bias before a BatchNorm has gradient 0, which rounds to anything tiny
MODEL, REAL = (ModelSpec(name, 16, (48, 48)) for name in (ROWS, "mobilefacenet"))


def batches(count: int, size: tuple[int, int] = (48, 48), batch: int = BATCH) -> list[Any]:
    """Four batches again and again, so that there is something to learn."""
    rng = np.random.default_rng(7)
    four = [
        (rng.integers(0, 256, (batch, *size, 3), np.uint8), rng.integers(0, CLASSES, batch))
        for _ in range(4)
    ]
    return [four[i % 4] for i in range(count)]


@cache
def learner(framework: type[Framework], dtype: str, model: ModelSpec) -> tuple[Any, dict[str, Any]]:
    """Return a learner and its first state; a graph is traced once for all tests."""
    loss = losses.get("arcface", scale=16, margin=0.3)
    spec = LearnerSpec(model, loss, CLASSES, SGD(), seed=0, dtype=dtype)
    made = framework().backend.create_learner(spec)
    return made, state_of(made)


def run(found: Any, data: list[Any], rate: float = RATE) -> list[float]:
    return [found.step(images, labels, rate, {}).loss for images, labels in data]


def fresh(framework: Framework, dtype: str, model: ModelSpec = MODEL) -> Any:
    made, state = learner(type(framework), dtype, model)
    made.load_arrays(state)
    return made


@pytest.mark.parametrize(
    "model", [MODEL, pytest.param(REAL, marks=pytest.mark.slow)], ids=lambda model: model.backbone
)
@pytest.mark.parametrize("dtype", list(RTOL))
def test_same_run(torch: Framework, tf: Framework, dtype: str, model: ModelSpec) -> None:
    learners = [fresh(framework, dtype, model) for framework in (torch, tf)]
    assert_same_arrays(state_of(learners[1]), state_of(learners[0]), rtol=0)
    data = batches(STEPS)
    first, second = (run(each, data) for each in learners)
    assert_same_losses(second, first, RTOL[dtype])
    if dtype == "float64":
        assert_same_arrays(state_of(learners[1]), state_of(learners[0]), rtol=1e-7, atol=NOISE)
        embeddings = [each.embed(data[0][0]) for each in learners]
        np.testing.assert_allclose(embeddings[1], embeddings[0], rtol=1e-5, atol=1e-5)


@cache
def expected_losses(framework: type[Framework]) -> list[float]:
    """Return the losses of the run that others are told from, in float32."""
    return run(fresh(framework(), "float32"), batches(STEPS))


@pytest.mark.parametrize("change", ["rate", "order", "momentum", "weight"])
def test_another_run_is_caught(framework: Framework, change: str) -> None:
    """What a float32 run must not tolerate, at the tolerance that it has."""
    data, expected = batches(STEPS), expected_losses(type(framework))
    made = fresh(framework, "float32")
    rate = RATE
    match change:
        case "rate":
            rate *= 1.02
        case "order":
            data = [data[1], data[0], *data[2:]]
        case "weight":
            state = state_of(made)
            # Of one input channel: BatchNorm would divide by the length of all.
            state["backbone.layer1.0.conv.weight"][:, 0] *= 1.01
            made.load_arrays(state)
    if change == "momentum":
        found = run(made, data[:5])
        state = state_of(made)
        slots = {k: 0.5 * v for k, v in state.items() if k.startswith("optimizer.momentum")}
        made.load_arrays(state | slots)
        found += run(made, data[5:])
    else:
        found = run(made, data, rate)
    with pytest.raises(AssertionError):
        assert_same_losses(found, expected, RTOL["float32"])


@pytest.mark.parametrize("order", ["torch to tf", "tf to torch"])
def test_checkpoint_goes_on_in_the_other(torch: Framework, tf: Framework, order: str) -> None:
    giver, taker = (torch, tf) if order == "torch to tf" else (tf, torch)
    data = batches(8)
    first = fresh(giver, "float64")
    run(first, data[:4])
    state = state_of(first)
    expected = run(first, data[4:])
    second = fresh(taker, "float64")
    second.load_arrays(state)
    assert_same_arrays(state_of(second), state, rtol=0)
    assert_same_losses(run(second, data[4:]), expected, RTOL["float64"])


def test_resumed_run_is_the_same(framework: Framework) -> None:
    """A state put back gives the very same losses within one framework."""
    data = batches(4)
    made = fresh(framework, "float64")
    run(made, data[:2])
    state = state_of(made)
    expected = run(made, data[2:])
    made.load_arrays(state)
    assert run(made, data[2:]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("name", "size", "optimizer"),
    [
        ("mbf", (32, 32), AdamW(clip_norm=None)),
        ("iresnet18", (32, 32), SGD(decay_norm_and_bias=False)),
    ],
)
def test_one_step_of_others(
    torch: Framework, tf: Framework, name: str, size: tuple[int, int], optimizer: Optimizer
) -> None:
    """Every gradient of the other families, through the slots that hold it."""
    loss = losses.get("cosface", scale=16)
    states, norms = [], []
    for framework in (torch, tf):
        spec = LearnerSpec(
            ModelSpec(name, 16, size), loss, CLASSES, optimizer, seed=0, dtype="float64"
        )
        made = framework.backend.create_learner(spec)
        (images, labels), *_ = batches(1, size, batch=4)
        norms.append(made.step(images, labels, 1e-3, {}).gradient_norm)
        states.append(state_of(made))
    assert norms[1] == pytest.approx(norms[0], rel=1e-8)
    assert_same_arrays(states[1], states[0], rtol=1e-7, atol=NOISE)


@pytest.mark.parametrize("change", ["missing", "shape", "left over"])
def test_states_that_do_not_fit(torch: Framework, tf: Framework, change: str) -> None:
    messages = []
    for framework in (torch, tf):
        made = fresh(framework, "float32")
        state = state_of(made)
        if change == "missing":
            del state["head.weight"]
        elif change == "shape":
            state["backbone.layer1.0.prelu.weight"] = np.zeros(1, np.float32)
        else:
            state["backbone.other"] = np.zeros(1)
        with pytest.raises(MarginfaceError) as caught:
            made.load_arrays(state)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
