"""Every loss in training: it separates identities, and both frameworks train alike."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework
from tiny_training import (
    CLASSES,
    HELD_OUT,
    accuracy,
    all_losses,
    batches,
    class_cosines,
    fresh,
    images_of,
    soon,
    train,
)

from marginface import losses
from marginface.losses import MarginLoss

STEPS, RATE = 60, 0.05
FLOOR = 0.9  # chance is 1 / 6; labels that mean nothing come to 0.5 at most
PARITY_STEPS, PARITY_RATE = 20, 0.005
# Float32 rounding grows through the steps, to 1e-4 where a loss of a large scale comes near 0.
PARITY_RTOL = {"float64": RTOL["float64"], "float32": 3e-4}
EACH = pytest.mark.parametrize("loss", all_losses(), ids=lambda loss: loss.name)
STATEFUL = ("adacos", "adaface", "curricularface", "sphereface", "vpl", "uss")
# A bias, state and rows of classes in float32, of which test_losses holds every loss's steps.
IN_FLOAT32 = ("arcface", "softmax", "adaface", "uss")


def assert_separates(learner: Any, loss: MarginLoss) -> None:
    found = accuracy(learner, loss)
    assert found >= FLOOR, f"{found:.0%} of the held-out images are nearest to their own class"


@EACH
def test_separates_identities(framework: Framework, loss: MarginLoss) -> None:
    learner = fresh(framework, loss)
    with pytest.raises(AssertionError, match="nearest to their own class"):
        assert_separates(learner, loss)
    found = train(learner, loss, batches(STEPS), RATE)
    assert found[-1] < found[0]
    assert_separates(learner, loss)


@EACH
def test_labels_that_mean_nothing_are_caught(torch: Framework, loss: MarginLoss) -> None:
    learner = fresh(torch, loss)
    train(learner, loss, batches(STEPS, shuffled=True), RATE)
    with pytest.raises(AssertionError, match="nearest to their own class"):
        assert_separates(learner, loss)


@pytest.mark.parametrize("name", ["arcface", "magface", "sphereface", "sphereface2", "adaface"])
def test_a_target_of_the_wrong_sign_is_caught(
    framework: Framework, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its scale is a little other than the default, so that no right learner is kept for it.
    loss = losses.get(name, scale=losses.get(name).scale * 1.01)
    right = framework.module("losses").OPS[type(loss)]

    class Wrong(right):
        def target(self, *given: Any) -> Any:
            return -super().target(*given)

    monkeypatch.setitem(framework.module("losses").OPS, type(loss), Wrong)
    learner = fresh(framework, loss)
    train(learner, loss, batches(STEPS), RATE)
    with pytest.raises(AssertionError, match="nearest to their own class"):
        assert_separates(learner, loss)


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [
        pytest.param(
            loss,
            dtype,
            marks=[pytest.mark.slow] * (dtype != "float64" and loss.name not in IN_FLOAT32),
        )
        for loss in all_losses()
        for dtype in PARITY_RTOL
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_same_run(torch: Framework, tf: Framework, loss: MarginLoss, dtype: str) -> None:
    """Losses, weights, optimizer slots and the loss's state after twenty steps."""
    learners = [fresh(framework, loss, dtype) for framework in (torch, tf)]
    assert_same_arrays(state_of(learners[1]), state_of(learners[0]), rtol=0)
    data = batches(PARITY_STEPS)
    first, second = (train(each, loss, data, PARITY_RATE) for each in learners)
    assert_same_losses(second, first, PARITY_RTOL[dtype])
    assert_same_arrays(state_of(learners[1]), state_of(learners[0]), PARITY_RTOL[dtype])


@EACH
def test_another_run_is_caught(torch: Framework, loss: MarginLoss) -> None:
    """What float32 must not tolerate: a rate one percent larger."""
    data, runs = batches(PARITY_STEPS), []
    for rate in (PARITY_RATE, PARITY_RATE * 1.01):
        learner = fresh(torch, loss, "float32")
        runs.append(train(learner, loss, data, rate))
    with pytest.raises(AssertionError):
        assert_same_losses(*runs, PARITY_RTOL["float32"])


@pytest.mark.parametrize("order", ["torch to tf", "tf to torch"])
@pytest.mark.parametrize("name", STATEFUL)
def test_state_goes_on_in_the_other(torch: Framework, tf: Framework, name: str, order: str) -> None:
    loss, data = soon(name), batches(12)
    giver, taker = (torch, tf) if order == "torch to tf" else (tf, torch)
    first = fresh(giver, loss)
    train(first, loss, data[:6], PARITY_RATE)
    middle = state_of(first)
    start = state_of(fresh(giver, loss))
    carried = [key for key in middle if key.startswith(("head.state.", "head.class_state."))]
    assert carried
    assert all((middle[key] != start[key]).any() for key in carried)
    second = fresh(taker, loss)
    second.load_arrays(middle)
    assert_same_arrays(state_of(second), middle, rtol=0)
    first.load_arrays(middle)
    expected = train(first, loss, data[6:], PARITY_RATE, first=6)
    assert_same_losses(
        train(second, loss, data[6:], PARITY_RATE, first=6), expected, RTOL["float64"]
    )
    assert_same_arrays(state_of(second), state_of(first), RTOL["float64"])
    # Without the state the run is another: `middle` is what makes it go on.
    forgetful = fresh(taker, loss)
    forgetful.load_arrays(middle | {key: start[key] for key in carried})
    with pytest.raises(AssertionError):
        assert_same_losses(
            train(forgetful, loss, data[6:], PARITY_RATE, first=6), expected, RTOL["float64"]
        )


def test_magface_moves_the_norms_into_its_range(framework: Framework) -> None:
    loss = losses.get("magface")
    free = replace(loss, lambda_g=0.0)
    medians = []
    for each in (loss, free):
        learner = fresh(framework, each)
        train(learner, each, batches(150), 0.1)
        norms = np.linalg.norm(learner.embed(images_of(HELD_OUT, 3, noise=10)), axis=1)
        medians.append(float(np.median(norms)))
        if each is loss:
            assert (norms > loss.l_a).all()
            assert (norms < loss.u_a).all()
    assert medians[0] > 2 * medians[1]  # the pull brings them there, not the softmax


def test_magface_makes_the_norm_a_quality(framework: Framework) -> None:
    """Descent on the norms alone: the farther from its class, the shorter an embedding ends."""
    loss = losses.get("magface")
    head, labels = framework.head(loss, 3, 3, "float64"), np.zeros(8, int)
    angles = np.linspace(0.1, 1.4, len(labels))
    directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(len(labels))], 1)
    norms = np.full(len(labels), 40.0)
    for _ in range(150):
        found = framework.evaluate(head, norms[:, None] * directions, np.eye(3), labels)
        if framework.name == "torch":
            head.zero_grad()
        slopes = len(labels) * (found.gradients["embeddings"] * directions).sum(1)
        norms = (norms - 100 * slopes).clip(loss.l_a, loss.u_a)
    assert (np.diff(norms) <= 1e-9).all()
    assert norms[0] > 80  # from 40 for all
    assert norms[-1] < 20


def test_adaface_statistics_approach_the_norms(framework: Framework) -> None:
    """At rate 0 the embeddings stand still, and the running statistics end at theirs."""
    loss = losses.get("adaface", t_alpha=0.1)
    learner, data = fresh(framework, loss), batches(1) * 200
    train(learner, loss, data, 0.0)
    norms, state = np.linalg.norm(learner.embed(data[0][0]), axis=1), state_of(learner)
    # `embed` scales by the unbiased variance of 48 values, training by the biased one.
    biased = np.sqrt(47 / 48)
    assert state["head.state.mean"] * biased == pytest.approx(norms.mean(), rel=1e-3)
    assert state["head.state.std"] * biased == pytest.approx(norms.std(ddof=1), rel=1e-3)


def test_curricularface_t_rises_with_success(framework: Framework) -> None:
    loss = losses.get("curricularface", alpha=0.1)
    learner, heights = fresh(framework, loss), [0.0]
    data = batches(STEPS)
    for part in range(3):
        train(learner, loss, data[part * 20 : part * 20 + 20], RATE)
        heights.append(float(state_of(learner)["head.state.t"]))
    assert heights == sorted(heights)
    own = class_cosines(learner, loss, images_of(HELD_OUT, 3))[range(len(HELD_OUT)), HELD_OUT]
    assert heights[-1] == pytest.approx(own.mean(), abs=0.1)
    failing = fresh(framework, loss)
    train(failing, loss, batches(STEPS, shuffled=True), RATE)
    assert state_of(failing)["head.state.t"] < 0.5 * heights[-1]


def test_sphereface_lambda_falls(framework: Framework) -> None:
    """A slower annealing from the same start: the same first loss, smaller ones later."""
    loss = losses.get("sphereface")
    slow = replace(loss, gamma=0.0)
    runs = {}
    for each in (loss, slow):
        learner = fresh(framework, each)
        # At rate 0 the weights stand still: only lambda moves the loss.
        runs[each] = train(learner, each, batches(1) * 200, 0.0)
        assert state_of(learner)["head.state.step"] == 200
    falling, level = np.array(runs[loss]), np.array(runs[slow])
    assert (np.diff(falling) > 0).all()  # psi is below the cosine: the margin grows in
    assert falling[-1] > level[-1]


@pytest.mark.parametrize("name", ["arcface", "cosface", "li_arcface", "combined_margin"])
def test_a_margin_sets_classes_apart(framework: Framework, name: str) -> None:
    """After the same steps the training images keep a wider gap to other classes than without."""
    with_margin = losses.get(name)
    changes = {"m2": 0.0} if name == "combined_margin" else {"margin": 0.0}
    gaps = []
    for loss in (with_margin, replace(with_margin, **changes)):
        learner = fresh(framework, loss)
        train(learner, loss, batches(STEPS), RATE)
        labels = np.arange(4 * CLASSES) % CLASSES
        cosines = class_cosines(learner, loss, images_of(labels, seed=1))
        rows = np.arange(len(labels))
        own = cosines[rows, labels].copy()
        cosines[rows, labels] = -1
        gaps.append(float((own - cosines.max(1)).mean()))
    assert gaps[0] > 1.2 * gaps[1]
