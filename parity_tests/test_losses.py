"""Spec, PyTorch and TensorFlow: the same loss values and gradients."""

import math
from typing import Any

import numpy as np
import pytest
from comparison import RTOL, assert_same_evaluation
from frameworks import Framework
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marginface import losses
from marginface.losses import MarginLoss

SEEDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
GRADIENTS = ("exact", "straight_through")
PAST_PI = ("monotone", "clip", "none")
LOSSES = [
    losses.get("softmax"),
    losses.get("softmax", scale=2.5),
    losses.get("normface", scale=16),
    losses.get("cosface", scale=30, margin=0.35),
    *(
        losses.get(name, scale=20, **margins, gradient=gradient, past_pi=past_pi)
        for name, margins in (
            ("arcface", {"margin": 0.5}),
            ("arcface", {"margin": 1.3}),
            ("combined_margin", {"m1": 1.0, "m2": 0.3, "m3": 0.2}),
            ("combined_margin", {"m1": 1.35, "m2": 0.0, "m3": 0.0}),
            ("combined_margin", {"m1": 3.0, "m2": 0.4, "m3": 0.1}),
        )
        for gradient in GRADIENTS
        for past_pi in PAST_PI
    ),
]


def problem(seed: int, dtype: str, batch: int = 5, classes: int = 7, size: int = 6) -> Any:
    """Return embeddings, class weights, labels and bias."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, 2, (batch, size)).astype(dtype),
        rng.normal(0, 0.5, (classes, size)).astype(dtype),
        rng.integers(0, classes, batch),
        rng.normal(0, 0.1, classes).astype(dtype),
    )


def check(framework: Framework, loss: MarginLoss, x: Any, w: Any, labels: Any, bias: Any) -> None:
    """Compare a framework with the spec, in the arrays' precision."""
    head = framework.head(loss, x.shape[1], len(w), x.dtype.name)
    bias = None if loss.normalized else bias
    expected = loss.evaluate(x, w, labels, bias=bias)
    found = framework.evaluate(head, x, w, labels, bias=bias)
    assert_same_evaluation(found, expected, RTOL[x.dtype.name])


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("dtype", list(RTOL))
def test_values_and_gradients(framework: Framework, loss: MarginLoss, dtype: str) -> None:
    check(framework, loss, *problem(0, dtype))


def on_circle(angles: list[float], dtype: str) -> Any:
    """Embeddings at these angles to their class, exact at 0 and pi, and classes on three axes."""
    cosines = [math.cos(a) if 0 < a < math.pi else round(math.cos(a)) for a in angles]
    sines = [math.sqrt(1 - c * c) for c in cosines]
    x = np.array([[2 * c, 2 * s, 0] for c, s in zip(cosines, sines, strict=True)], dtype)
    return x, np.diag([0.5, 4.0, 1.0]).astype(dtype), np.zeros(len(x), int), np.zeros(3, dtype)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_extreme_angles(framework: Framework, loss: MarginLoss) -> None:
    """Cosines of +-1, and both sides of each angle at which a policy changes."""
    m1, m2 = getattr(loss, "m1", 1.0), getattr(loss, "m2", 0.5)
    bends = [(k * math.pi - m2) / m1 for k in range(1, 4)]
    angles = [b + side for b in bends for side in (-1e-4, 1e-4) if 0 < b + side < math.pi]
    check(framework, loss, *on_circle([0.0, math.pi, 1e-4, math.pi - 1e-4, *angles], "float64"))


DEGENERATE = {
    "zero embedding": lambda x, w, y, b: (np.where(x == x[0], 0, x), w, y, b),
    "shorter than the limit": lambda x, w, y, b: (x * 1e-14, w, y, b),
    "short embeddings": lambda x, w, y, b: (x * 1e-6, w, y, b),
    "zero class weights": lambda x, w, y, b: (x, np.where(w == w[y[0]], 0, w), y, b),
    "one class": lambda x, w, y, b: (x, w[:1], y * 0, b[:1]),
    "one sample": lambda x, w, y, b: (x[:1], w, y[:1], b),
    "one label": lambda x, w, y, b: (x, w, y * 0 + 3, b),
}


@pytest.mark.parametrize("change", DEGENERATE)
@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("dtype", list(RTOL))
def test_degenerate_input(framework: Framework, name: str, change: str, dtype: str) -> None:
    arrays = DEGENERATE[change](*problem(1, dtype))
    check(framework, losses.get(name, scale=8), *arrays)


@SEEDED
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(3, 9)),
    scale=st.floats(0.5, 64),
    margins=st.tuples(st.floats(1, 4), st.floats(0, 1.5), st.floats(0, 1)),
    gradient=st.sampled_from(GRADIENTS),
    past_pi=st.sampled_from(PAST_PI),
)
def test_any_combined_margin(
    framework: Framework,
    seed: int,
    sizes: tuple[int, int, int],
    scale: float,
    margins: tuple[float, float, float],
    gradient: str,
    past_pi: str,
) -> None:
    m1, m2, m3 = margins
    options = {"scale": scale, "gradient": gradient, "past_pi": past_pi}
    loss = losses.get("combined_margin", m1=m1, m2=m2, m3=m3, **options)
    check(framework, loss, *problem(seed, "float64", *sizes))


@pytest.mark.parametrize("loss", [x for x in LOSSES if getattr(x, "gradient", "exact") == "exact"])
def test_spec_gradients_are_slopes(loss: MarginLoss) -> None:
    """Central differences of the spec's loss along a random direction of each argument."""
    x, w, labels, bias = problem(2, "float64", batch=3, classes=3, size=3)
    arguments = {"embeddings": x, "weight": w} | ({} if loss.normalized else {"bias": bias})
    gradients = loss.evaluate(**arguments, labels=labels).gradients
    for name, values in arguments.items():
        way = np.random.default_rng(3).normal(size=values.shape)
        ends = [
            loss.evaluate(**arguments | {name: values + step * way}, labels=labels).loss
            for step in (1e-6, -1e-6)
        ]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
            float((gradients[name] * way).sum()), rel=1e-5, abs=1e-6
        )


def test_half_precision_is_widened(framework: Framework) -> None:
    """float16 embeddings give what their float32 copies give."""
    x, w, labels, _ = problem(4, "float32")
    x = x.astype(np.float16)
    loss = losses.get("arcface")
    head = framework.head(loss, x.shape[1], len(w))
    assert_same_evaluation(
        framework.evaluate(head, x.astype(np.float32), w, labels),
        loss.evaluate(x, w, labels),
        RTOL["float32"],
    )
    assert framework.call(head, x, labels) == pytest.approx(
        framework.call(head, x.astype(np.float32), labels), rel=1e-6
    )


def wrong_ops(framework: Framework, change: str) -> type:
    """Return tensor code for ArcFace that is a little wrong."""
    right = framework.module("losses.arcface").CombinedMarginOps

    class Wrong(right):
        def target(self, cosines: Any, prepared: Any) -> Any:
            if change == "no margin":
                return cosines
            return super().target(cosines, prepared) * (-1 if change == "sign" else 1)

        def reduce(self, target: Any, logits: Any, labels: Any) -> Any:
            return super().reduce(target, logits, labels) * (1.0001 if change == "scaled" else 1)

    return Wrong


@pytest.mark.parametrize("change", ["no margin", "sign", "scaled"])
def test_mutants_are_caught(
    framework: Framework, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = losses.get("arcface")
    registry = framework.module("losses").OPS
    monkeypatch.setitem(registry, type(loss), wrong_ops(framework, change))
    with pytest.raises(AssertionError):
        check(framework, loss, *problem(0, "float32"))


@pytest.mark.parametrize("argument", ["embeddings", "weight"])
def test_wrong_gradients_are_caught(framework: Framework, argument: str) -> None:
    loss = losses.get("arcface")
    x, w, labels, _ = problem(0, "float32")
    found = framework.evaluate(framework.head(loss, x.shape[1], len(w)), x, w, labels)
    found.gradients[argument][0, 0] *= 1.001
    with pytest.raises(AssertionError):
        assert_same_evaluation(found, loss.evaluate(x, w, labels), RTOL["float32"])
