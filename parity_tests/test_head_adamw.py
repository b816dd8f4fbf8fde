"""AdamW in the backward pass: the reference's steps, of the rows looked at and of no others."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework
from row_steps import zero_slots
from test_head_sampling import CLASSES, RATE, batches, make, reference, start
from test_head_scaling import back
from tiny_training import MODEL
from tiny_training import batches as images

from marginface import MarginfaceError, losses
from marginface.heads import draw_step
from marginface.learner import LearnerSpec
from marginface.optimizers import SGD, AdamW

STEPS = 20
# Betas of which 20 steps show much, and an epsilon that counts.
STEP = AdamW(weight_decay=0.3, beta1=0.8, beta2=0.95, epsilon=0.01, decay_norm_and_bias=False)
USUAL = AdamW(weight_decay=0.0)


def made(framework: Framework, name: str, spec: AdamW = STEP, **options: Any) -> Any:
    """Return a head at the start, and its arrays."""
    head = make(framework, name, update=spec, **options)
    w, bias = start(head.loss)
    arrays = {"weight": w} | ({} if bias is None else {"bias": bias})
    arrays |= zero_slots(spec, arrays)
    head.load_arrays(arrays)
    head.rate = RATE
    return head, arrays


def copied(head: Any) -> dict[str, Any]:
    return {name: np.array(value) for name, value in head.arrays().items()}


@pytest.mark.parametrize(
    ("name", "rate", "block"),
    [
        ("arcface", 1.0, None),
        ("softmax", 0.7, 3),
        ("sphereface2", 0.7, None),
        ("subcenter_arcface", 0.7, 3),
    ],
)
def test_twenty_steps_are_the_reference_s(
    framework: Framework, name: str, rate: float, block: int | None
) -> None:
    """Weights, both moments and each row's number of steps."""
    head, arrays = made(framework, name, sample_rate=rate, block=block)
    steps = batches(head.loss, rate, number=STEPS)
    bias = arrays.get("bias")
    wanted, gradients = reference(head.loss, arrays["weight"], bias, steps, STEP)
    for batch, gradient in zip(steps, gradients, strict=True):
        found = back(framework, head, batch, 1.0)
        assert_same_arrays({"x": found}, {"x": gradient}, RTOL["float64"])
    assert_same_arrays(copied(head), wanted, RTOL["float64"])
    counts = wanted["count.weight"]
    assert (counts.min() < counts.max()) == (rate < 1)


def test_rows_not_looked_at_stay(framework: Framework) -> None:
    """Moments and number of steps too, though they are not zero."""
    head, arrays = made(framework, "softmax", sample_rate=0.5)
    rng = np.random.default_rng(2)
    before = {name: rng.uniform(1, 2, value.shape) for name, value in arrays.items()}
    before |= {f"count.{k}": np.arange(1, CLASSES + 1) for k in ("weight", "bias")}
    head.load_arrays(before)
    batch, *_ = batches(head.loss, 0.5)
    back(framework, head, batch, 1.0)
    away = np.setdiff1d(np.arange(CLASSES), batch[2]["classes"])
    assert 0 < len(away) < CLASSES
    for name, value in copied(head).items():
        assert np.array_equal(value[away], before[name][away]), name
        moved = (value != before[name]).reshape(CLASSES, -1).all(axis=1)
        assert moved.sum() == CLASSES - len(away), name


def test_the_first_step_of_a_row_is_as_long_as_the_rate(framework: Framework) -> None:
    """However late it comes: by the run's number of steps it would be 2.5 times as long."""
    head, arrays = made(framework, "arcface", USUAL)
    late = 4
    counts = np.where(np.arange(CLASSES) == late, 0, 1000)
    head.load_arrays(arrays | {"count.weight": counts})
    back(framework, head, batches(head.loss)[0], 1.0)
    step = np.abs(copied(head)["weight"] - arrays["weight"]) / RATE
    np.testing.assert_allclose(step[late], 1, rtol=1e-3)
    others = np.delete(step, late, axis=0)
    # (1 - beta1) / sqrt(1 - beta2) from moments of zero, corrected by 1,001 steps
    longer = 0.1 / np.sqrt(0.001 / (1 - 0.999**1001))
    np.testing.assert_allclose(others, longer, rtol=1e-3)


def test_scaled_losses_and_overflows(framework: Framework) -> None:
    """A scale is divided out; what is no number moves nothing, and counts as no step."""
    head, arrays = made(framework, "sphereface2", sample_rate=0.7, block=4)
    steps = batches(head.loss, 0.7)
    head.loss_scale = 1024
    back(framework, head, steps[0], np.inf)
    assert_same_arrays(copied(head), arrays, 0)
    for batch in steps:
        back(framework, head, batch, 1024.0)
    wanted, _ = reference(head.loss, arrays["weight"], arrays["bias"], steps, STEP)
    assert_same_arrays(copied(head), wanted, RTOL["float64"])


def test_small_steps_of_the_second_moment_are_not_lost_in_bfloat16(framework: Framework) -> None:
    """It falls by a thousandth a step, where two bfloat16 numbers are four to eight apart."""
    framework.seed(0)
    head, arrays = made(framework, "arcface", USUAL, dtype="bfloat16")
    head.load_arrays(arrays | {"second.weight": np.ones_like(arrays["weight"])})
    x, labels, draw = batches(losses.get("arcface"))[0]
    for _ in range(20):
        back(framework, head, (np.float32(x * 0 + 1e-3), labels, draw), 1e-6)
    found = copied(head)["second.weight"].astype(np.float64).mean()
    assert found == pytest.approx(0.999**20, abs=0.004)  # three standard deviations


def test_float16_is_refused(framework: Framework) -> None:
    with pytest.raises(
        MarginfaceError, match="squares of gradients, which are too small for float"
    ):
        make(framework, "arcface", "float16", update=STEP)
    make(framework, "arcface", "float16", update=SGD())


def test_a_keras_configuration_names_the_optimizer(tf: Framework) -> None:
    head = make(tf, "arcface", update=STEP)
    config = head.get_config()
    assert head.from_config(config).update == STEP
    del config["update"]["name"]  # as earlier versions wrote it, of SGD alone
    config["update"] = {"momentum": 0.5, "weight_decay": 0.1}
    assert head.from_config(config).update == SGD(momentum=0.5, weight_decay=0.1)


LOSS = losses.get("softmax", scale=4.0)
SAMPLED, PEOPLE = 0.6, 20  # more than a batch has: TensorFlow traces for each number of classes


@cache
def learner(kind: type[Framework]) -> tuple[Any, Any]:
    """Return a learner that samples classes, and its first state."""
    spec = LearnerSpec(MODEL, LOSS, PEOPLE, AdamW(), 0, dtype="float64", sample_rate=SAMPLED)
    found = kind().backend.create_learner(spec)
    return found, state_of(found)


def run(learner: Any, first: int, end: int) -> list[float]:
    """Take the steps from one to another; return the losses."""
    return [
        learner.step(
            x, y, 1e-3, draw_step(LOSS, np.random.default_rng(step), y, PEOPLE, SAMPLED)
        ).loss
        for step, (x, y) in list(enumerate(images(STEPS)))[first:end]
    ]


def test_a_run_is_the_same_in_both_and_goes_on_in_either(torch: Framework, tf: Framework) -> None:
    """Bit for bit where it was saved; a checkpoint has dense AdamW's names, and the counts."""
    ours, halves, ends = [], [], []
    for framework in (torch, tf):
        made, state = learner(type(framework))
        made.load_arrays(state)
        found = run(made, 0, STEPS // 2)
        halves.append(state_of(made))
        ours.append(found + run(made, STEPS // 2, STEPS))
        ends.append(state_of(made))
    assert_same_losses(ours[1], ours[0], RTOL["float64"])
    assert_same_arrays(ends[1], ends[0], rtol=1e-8, atol=1e-12)
    of_head = {name for name in ends[0] if name.startswith("optimizer.") and "head" in name}
    assert of_head == {
        f"optimizer.{slot}.head.{name}"
        for slot in ("first", "second", "count")
        for name in ("weight", "bias")
    }
    counts = ends[0]["optimizer.count.head.weight"]
    assert 0 < counts.min() < counts.max() <= STEPS
    for number, framework in enumerate((torch, tf)):
        made, _ = learner(type(framework))
        for other in (0, 1):
            made.load_arrays(halves[other])
            assert_same_losses(run(made, STEPS // 2, STEPS), ours[other][STEPS // 2 :], 1e-9)
            close = {"rtol": 0.0} if other == number else {"rtol": 1e-8, "atol": 1e-12}
            assert_same_arrays(state_of(made), ends[other], **close)
