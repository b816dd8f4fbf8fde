"""Matrix products of half precision: what is rounded, what is not, and how far off it may be."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_arrays, assert_same_evaluation
from frameworks import Framework
from row_steps import start_state
from test_head_sampling import STEP, stepped

from marginface import MarginfaceError, losses
from marginface.heads import draw_step

SIZE, CLASSES, BATCH = 16, 11, 6
LABELS = np.array([0, 10, 3, 3, 2, 7])
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # of one factor, at most half of it
# Losses whose products differ: a bias, several centres, norms, negatives of the batch.
BOTH = ("softmax", "arcface", "subcenter_arcface", "adaface", "sphereface2", "uniface")
# TensorFlow compiles blocks for every loss anew: all losses go in one in quick tests, and in blocks
# there in float64 (test_head_blocks).
BLOCK, WHOLE = 4, CLASSES
EACH = pytest.mark.parametrize(
    ("name", "precision", "block"),
    [
        *((name, precision, BLOCK) for name in BOTH for precision in ROUNDING),
        *((name, "float16", WHOLE) for name in losses.names() if name not in BOTH),
        *(
            pytest.param(name, precision, BLOCK, marks=pytest.mark.slow)
            for name in losses.names()
            if name not in BOTH
            for precision in ROUNDING
        ),
    ],
)


def make(framework: Framework, loss: Any, precision: str, **options: Any) -> Any:
    dtype = options.pop("dtype", "float64")
    kind = getattr(framework.torch, dtype) if framework.name == "torch" else dtype
    given = {
        "num_classes": CLASSES,
        "block": BLOCK,
        "dtype": kind,
        "precision": precision,
        **options,
    }
    return framework.backend.MarginHead(loss, SIZE, **given)


def problem(loss: Any, seed: int = 0) -> tuple[Any, Any, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(BATCH, SIZE)) * 3, rng.normal(size=(CLASSES * loss.num_centers, SIZE))
    bias, draw = loss.initial_bias(CLASSES), loss.draw(rng, BATCH)
    if bias is not None:
        bias = bias + rng.normal(size=bias.shape)
    return x, w, {"bias": bias, "draw": draw, "state": start_state(loss, CLASSES, SIZE)}


def evaluate(framework: Framework, loss: Any, precision: str, **options: Any) -> Any:
    x, w, more = problem(loss)
    return framework.evaluate(make(framework, loss, precision, **options), x, w, LABELS, **more)


@cache  # two tests look at each
def evaluated(framework: Framework, name: str, precision: str, block: int) -> Any:
    return evaluate(framework, losses.get(name), precision, block=block)


@EACH
def test_both_frameworks_round_alike(
    torch: Framework, tf: Framework, name: str, precision: str, block: int
) -> None:
    found, other = (evaluated(framework, name, precision, block) for framework in (torch, tf))
    assert_same_evaluation(found, other, RTOL["float64"])


@EACH
def test_it_is_off_by_no_more_than_rounding(
    framework: Framework, name: str, precision: str, block: int
) -> None:
    """A logit by two roundings of unit vectors, times the scale; the loss by as much."""
    loss = losses.get(name)
    x, w, more = problem(loss)
    found = evaluated(framework, name, precision, block)
    exact = loss.evaluate(x, w, LABELS, **more)
    assert abs(found.loss - exact.loss) > RTOL["float64"] * exact.loss  # it does round
    reach = 3.0 * loss.radius(exact.state)  # the steepest negative has a slope below 3
    if not loss.normalized:
        reach *= np.linalg.norm(x, axis=1).max() * np.linalg.norm(w, axis=1).max()
    if loss.norm_scaled:
        reach *= np.linalg.norm(x, axis=1).max()
    assert abs(found.loss - exact.loss) <= reach * ROUNDING[precision]
    for key, wanted in exact.gradients.items():
        error = np.linalg.norm(found.gradients[key] - wanted) / np.linalg.norm(wanted)
        assert RTOL["float64"] < error < 40 * ROUNDING[precision], key
    from_logits = type(loss).finish is not losses.MarginLoss.finish  # which are rounded
    rtol = ROUNDING[precision] if from_logits else RTOL["float64"]
    assert_same_arrays(found.state, exact.state, rtol)


@pytest.mark.parametrize("precision", ROUNDING)
def test_sums_are_not_rounded(framework: Framework, precision: str) -> None:
    """Numbers of a few bits multiply exactly, and their sums have all places of the weights."""
    loss, rng = losses.get("softmax"), np.random.default_rng(1)
    x = rng.integers(-8, 9, (BATCH, SIZE)) / 4
    w = rng.integers(-8, 9, (CLASSES, SIZE)) / 8
    given = {"bias": np.zeros(CLASSES)}
    values = [
        framework.evaluate(make(framework, loss, each), x, w, LABELS, **given).loss
        for each in (precision, "full")
    ]
    np.testing.assert_allclose(*values, rtol=1e-14)


@pytest.mark.parametrize("precision", ROUNDING)
def test_a_samples_own_class_is_not_rounded(framework: Framework, precision: str) -> None:
    """Of one class alone, there is nothing else."""
    loss = losses.get("sphereface2")  # whose target's term does not vanish without others
    x, w, more = problem(loss)
    found, exact = (
        framework.evaluate(
            make(framework, loss, each, num_classes=1), x, w[:1], np.zeros(BATCH, int), **more
        )
        for each in (precision, "full")
    )
    assert exact.loss > 0.1
    assert_same_evaluation(found, exact, 1e-14)


@pytest.mark.parametrize("near", [0, 1])
def test_small_shares_survive_float16(framework: Framework, near: int) -> None:
    """A class's share of 1e-9 is below all that float16 can hold, also beside one of 1."""
    loss = losses.get("cosface", scale=30, margin=0.0)
    x, w, more = problem(loss)
    x[:] = x[0]
    w[:] = -x[0] + w / 20  # all alike and far away, but for one that is all samples' own
    w[0] = x[0]
    w[1 : 1 + near] *= -1
    labels = np.zeros(BATCH, int)
    found, exact = (
        framework.evaluate(make(framework, loss, each), x, w, labels, **more)
        for each in ("float16", "full")
    )
    wanted, got = (each.gradients["weight"][1 + near :] for each in (exact, found))
    assert 0 < np.abs(wanted).max() < 1e-9
    assert np.linalg.norm(got - wanted) < 0.05 * np.linalg.norm(wanted)


def test_well_classified_samples_count_in_float16(framework: Framework) -> None:
    """Where a class is near one sample alone, its gradient is that sample's, however small."""
    loss = losses.get("cosface", scale=30, margin=0.0)
    x = w = np.eye(SIZE)
    w = np.concatenate([w[[0, 2]], np.tile(w[1], (CLASSES - 2, 1))])
    w[1, 0] = 0.1  # the others are all that sample 1 resembles: it is classified badly
    x, w = x[:2], w / np.linalg.norm(w, axis=1)[:, None]
    found, exact = (
        framework.evaluate(make(framework, loss, each), x, w, np.array([0, 0])).gradients["weight"][
            1
        ]
        for each in ("float16", "full")
    )
    assert 0 < np.abs(exact).max() < 1e-8
    assert np.linalg.norm(found - exact) < 0.01 * np.linalg.norm(exact)


def test_short_weights_keep_their_places_in_float16(framework: Framework) -> None:
    """A logit does not depend on the lengths of other classes' weights."""
    loss = losses.get("cosface", scale=30, margin=0.0)
    x, w, more = problem(loss)
    long = w.copy()
    long[1:] *= 2.0**16
    found, other = (
        framework.evaluate(make(framework, loss, "float16"), x, weight, LABELS, **more)
        for weight in (w, long)
    )
    np.testing.assert_allclose(found.loss, other.loss, rtol=1e-12)


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("precision", ROUNDING)
def test_steps_in_the_backward_pass_go_with_it(
    torch: Framework, tf: Framework, precision: str, rate: float
) -> None:
    loss, rng = losses.get("arcface"), np.random.default_rng(0)
    steps = []
    for _ in range(3):
        labels = rng.integers(0, CLASSES, BATCH)
        draw = draw_step(loss, rng, labels, CLASSES, rate, "partial_fc")
        steps.append((rng.normal(size=(BATCH, SIZE)), labels, draw))
    w = rng.normal(size=(CLASSES, SIZE))
    options = {"update": STEP, "sample_rate": rate}
    found, other = (
        stepped(each, make(each, loss, precision, **options), w, None, steps)
        for each in (torch, tf)
    )
    for one, two in zip(found, other, strict=True):
        arrays = [x if isinstance(x, dict) else dict(enumerate(x)) for x in (one, two)]
        assert_same_arrays(arrays[0], arrays[1], RTOL["float64"])


def test_an_unknown_precision_names_the_nearest(framework: Framework) -> None:
    with pytest.raises(MarginfaceError, match="unknown precision 'bfloat'; did you mean 'bfloat16"):
        make(framework, "arcface", "bfloat")


def test_the_plan_names_it(framework: Framework) -> None:
    assert "products in bfloat16" in str(make(framework, "arcface", "bfloat16").plan(4))
    assert "products in" not in str(make(framework, "arcface", "full").plan(4))
