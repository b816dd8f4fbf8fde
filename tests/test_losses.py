"""The spec itself: hand-computed values, finite differences, and what it refuses."""

import math
import re
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface import MarginfaceError, losses
from marginface.parity import problem, variants
from marginface.parity.problems import label

SEEDED = settings(max_examples=40, deadline=None, derandomize=True)
WITH_MARGIN = [
    losses.get("cosface"),
    losses.get("arcface"),
    losses.get("arcface", past_pi="clip"),
    losses.get("combined_margin", m1=1.35, m2=0.3, m3=0.2),
]


def small(seed: int, batch: int = 4, classes: int = 5, size: int = 6) -> tuple:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(batch, size)),
        rng.normal(size=(classes, size)),
        rng.integers(0, classes, batch),
    )


def test_arcface_by_hand() -> None:
    # Two classes on the axes, one embedding at 60 degrees to its own class.
    theta = math.pi / 3
    found = losses.get("arcface", scale=2, margin=0.5).evaluate(
        3 * np.array([[math.cos(theta), math.sin(theta)]]), np.diag([2.0, 0.5]), np.array([0])
    )
    target, other = 2 * math.cos(theta + 0.5), 2 * math.sin(theta)
    assert found.loss == pytest.approx(math.log(1 + math.exp(other - target)), rel=1e-14)


def test_cosface_by_hand() -> None:
    found = losses.get("cosface", scale=4, margin=0.25).evaluate(
        np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0])
    )
    assert found.loss == pytest.approx(math.log(1 + math.exp(-4 * 0.75)), rel=1e-14)


def test_softmax_is_not_normalised() -> None:
    found = losses.get("softmax").evaluate(
        np.array([[2.0]]), np.array([[1.0], [3.0]]), np.array([1]), bias=np.array([0.5, 0.0])
    )
    assert found.loss == pytest.approx(math.log(1 + math.exp(2.5 - 6)), rel=1e-14)


def exact_variants() -> list[losses.MarginLoss]:
    """Every loss in every choice whose gradient is its values' derivative."""
    found = [variant for name in losses.names() for variant in variants(name)]
    return [loss for loss in found if getattr(loss, "gradient", "exact") == "exact"]


@pytest.mark.parametrize("loss", exact_variants(), ids=label)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_the_values_slopes(loss: losses.MarginLoss, seed: int) -> None:
    """Central differences along a random direction, for every argument.

    The statistics that a loss takes from the batch are constants to the gradient: they are held
    where they were.
    """
    loss = replace(loss, scale=3.0)
    case = problem(loss, np.random.default_rng(seed), batch=3, classes=4, size=3)
    arrays = {"embeddings": case.embeddings, "weight": case.weight}
    if case.bias is not None:
        arrays["bias"] = case.bias

    def value(changed: dict) -> losses.Evaluation:
        return loss.evaluate(
            **arrays | changed, labels=case.labels, state=case.state, draw=case.draw
        )

    units = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (case.embeddings, case.weight)]
    cosines = (units[0] @ units[1].T).reshape(3, 4, -1).max(2)[np.arange(3), case.labels]
    norms = np.linalg.norm(case.embeddings, axis=1)
    held = loss.prepare(cosines, norms, case.state, case.draw)
    with mock.patch.object(type(loss), "prepare", return_value=held):
        gradients = value({}).gradients
        assert set(gradients) == set(arrays)
        for name, values in arrays.items():
            way = np.random.default_rng(seed + 10).normal(size=values.shape)
            ends = [value({name: values + step * way}).loss for step in (1e-6, -1e-6)]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
                float((gradients[name] * way).sum()), rel=1e-5, abs=1e-7
            )


@SEEDED
@given(cosine=st.floats(-1, 1), margin=st.floats(0, 1.5))
def test_combined_margin_holds_the_others(cosine: float, margin: float) -> None:
    arcface = losses.get("arcface", margin=margin).target(cosine, 1.0, {})
    combined = losses.get("combined_margin", m2=margin).target(cosine, 1.0, {})
    assert combined == arcface
    cosface = losses.get("cosface", margin=margin).target(cosine, 1.0, {})
    combined = losses.get("combined_margin", m2=0.0, m3=margin).target(cosine, 1.0, {})
    assert combined.value == pytest.approx(cosface.value, abs=1e-12)


@pytest.mark.parametrize("loss", WITH_MARGIN, ids=str)
@SEEDED
@given(seed=st.integers(0, 10_000))
def test_a_margin_costs(loss: losses.MarginLoss, seed: int) -> None:
    x, w, labels = small(seed)
    plain = losses.get("normface", scale=loss.scale).evaluate(x, w, labels)
    assert loss.evaluate(x, w, labels).loss >= plain.loss - 1e-9


@pytest.mark.parametrize("m1", [1.0, 1.5, 4.0])
def test_monotone_target_falls_with_the_angle(m1: float) -> None:
    loss = losses.get("combined_margin", m1=m1, m2=0.5, past_pi="monotone")
    values = [
        loss.target(math.cos(theta), 1.0, {}).value for theta in np.linspace(0, math.pi, 2001)
    ]
    assert (np.diff(values) < 1e-12).all()


def test_without_a_policy_the_target_rises_past_pi() -> None:
    loss = losses.get("arcface", past_pi="none")
    assert loss.target(-1.0, 1.0, {}).value > loss.target(math.cos(math.pi - 0.5), 1.0, {}).value


def test_published_continuation_past_pi() -> None:
    cosine = math.cos(math.pi - 0.3)
    monotone = losses.get("arcface", margin=0.5, past_pi="monotone").target(cosine, 1.0, {})
    assert monotone.value == pytest.approx(cosine - 0.5 * math.sin(0.5), rel=1e-12)
    assert losses.get("arcface", margin=0.5, past_pi="clip").target(cosine, 1.0, {}) == (
        -1.0,
        0.0,
        0.0,
    )


def test_gradient_modes() -> None:
    # At theta = 0.05 the true slope is 10.5, at 2.7 it is -0.14 (past pi, without a policy).
    exact = losses.get("arcface", past_pi="none")
    assert exact.target(math.cos(0.05), 1.0, {}).slope == pytest.approx(10.46, abs=0.01)
    assert exact.target(math.cos(2.7), 1.0, {}).slope == pytest.approx(-0.137, abs=0.001)
    through = losses.get("arcface", gradient="straight_through")
    assert through.target(math.cos(0.05), 1.0, {}).slope == 1.0
    assert (
        through.target(math.cos(0.05), 1.0, {}).value == exact.target(math.cos(0.05), 1.0, {}).value
    )


def test_a_zero_embedding_has_no_direction() -> None:
    found = losses.get("arcface").evaluate(np.zeros((1, 2)), np.eye(2), np.array([0]))
    assert (found.gradients["embeddings"] == 0).all()
    assert math.isfinite(found.loss)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("arcfase", {}, "did you mean 'arcface'"),
        ("arcface", {"scale": 0}, "arcface: scale must be greater than 0, got 0"),
        ("arcface", {"scale": math.nan}, "scale must be greater than 0, got nan"),
        ("arcface", {"scale": np.float64("nan")}, "scale must be greater than 0, got nan"),
        ("arcface", {"margin": 3.5}, "margin must be in [0, pi) radians, got 3.5"),
        ("arcface", {"margin": "0.5"}, "margin must be a number, got '0.5'"),
        ("arcface", {"margn": 0.5}, "did you mean 'margin'"),
        ("arcface", {"gradient": "true"}, "gradient must be one of ('exact', 'straight_through')"),
        ("arcface", {"past_pi": "wrap"}, "past_pi must be one of"),
        ("cosface", {"margin": -0.1}, "margin must be in [0, 2), got -0.1"),
        ("combined_margin", {"m1": 0.9}, "m1 must be at least 1"),
        ("normface", {"margin": 0.5}, "unknown normface parameter 'margin'"),
    ],
)
def test_refusals(name: str, values: dict, said: str) -> None:
    with pytest.raises(MarginfaceError) as error:
        losses.get(name, **values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_numpys_numbers_become_pythons() -> None:
    loss = losses.get("arcface", scale=np.int64(32), margin=np.float32(0.5))
    assert repr(loss) == (
        "ArcFace(scale=32, margin=0.5, easy_margin=False, gradient='exact', past_pi='monotone')"
    )


@pytest.mark.parametrize("name", losses.names())
def test_every_margin_names_its_source(name: str) -> None:
    """An arXiv number, in the one place that says it."""
    loss = losses.get(name)
    source = re.search(r"\d{4}\.\d{5}|(ECCV|ICCV) \d{4}", type(loss).__doc__ or "")
    assert source or not loss.normalized


def test_reference_leaves_arguments_alone() -> None:
    x, w, labels = small(0)
    copies = x.copy(), w.copy(), labels.copy()
    losses.get("arcface").evaluate(x, w, labels)
    assert all((a == b).all() for a, b in zip((x, w, labels), copies, strict=True))
