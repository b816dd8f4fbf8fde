"""The spec against its formulas in 50 digits, where float64 itself is in doubt."""

import math
from dataclasses import replace

import numpy as np
import pytest
from high_precision import Oracle

from marginface import losses
from marginface.losses import MarginLoss
from marginface.losses.problems import label
from marginface.parity import Problem, problem, variants
from marginface.parity.measure import evaluate_spec

ALL = [variant for name in losses.names() for variant in variants(name)]
EXACT = [variant for variant in ALL if variant.exact]


def check(loss: MarginLoss, case: Problem, rtol: float) -> None:
    """Compare value, gradients and state; a gradient that cancels with what it is made of.

    Where a slope is not its value's derivative, no formula has it.
    """
    oracle, found = Oracle(loss, case), evaluate_spec(loss, case)
    assert found.loss == pytest.approx(float(oracle.value()), rel=rtol, abs=1e-300)
    for name, gradient in found.gradients.items() if loss.exact else ():
        wanted = np.array(oracle.gradient(name), np.float64).reshape(gradient.shape)
        norms = np.linalg.norm(case.embeddings, axis=1)
        least = loss.radius(case.state) / norms.max() if name == "embeddings" else 0.0
        allowed = rtol * max(np.abs(wanted).max(), least)
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=allowed, err_msg=name)
    assert set(found.state) == set(oracle.next_state)
    for name, value in found.state.items():
        wanted = np.array(oracle.next_state[name], np.float64)
        np.testing.assert_allclose(value, wanted, rtol=1e-13, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", ALL, ids=label)
def test_drawn(loss: MarginLoss, seed: int) -> None:
    drawn = problem(loss, np.random.default_rng(seed), batch=3, classes=3, size=3)
    check(loss, drawn, 1e-12)


@pytest.mark.parametrize("length", [1e-6, 1e6])
@pytest.mark.parametrize("name", losses.names())
def test_short_and_long(name: str, length: float) -> None:
    # Of the variants with derivatives for slopes the one nearest to the defaults.
    loss = min((v for v in variants(name) if v.exact), key=lambda v: len(label(v)))
    drawn = problem(loss, np.random.default_rng(5), batch=3, classes=3, size=3)
    units = drawn.embeddings / np.linalg.norm(drawn.embeddings, axis=1, keepdims=True)
    if loss.norm_scaled or not loss.normalized:
        units, length = units * (1 if length < 1 else 1e-4), length  # e^1e6 says nothing
    check(loss, replace(drawn, embeddings=units * length), 1e-10)


@pytest.mark.parametrize("loss", EXACT, ids=label)
def test_around_the_bends(loss: MarginLoss) -> None:
    """Angles next to 0, pi and to where theta + m passes pi: acos loses half its digits there."""
    margin = getattr(loss, "margin", 0.5)
    bends = [math.pi - margin, math.pi / 2, math.pi / margin] if margin else [math.pi / 2]
    angles = [2e-3, math.pi - 2e-3]
    angles += [b + side for b in bends for side in (-1e-6, 1e-6) if 0.01 < b + side < 3.1]
    x = np.array([[math.cos(a), math.sin(a), 0.25 * math.sin(a)] for a in angles]) * 12
    drawn = problem(loss, np.random.default_rng(3), batch=len(angles), classes=3, size=3)
    weight = np.repeat([[1.0, 0.0, 0.0], [0.1, 1.0, 0.2], [-0.3, 0.1, 1.0]], loss.num_centers, 0)
    case = replace(drawn, embeddings=x, weight=weight, labels=np.zeros(len(angles), int))
    if loss.num_centers > 1:  # equal centres have no derivative
        case.weight[1 :: loss.num_centers] *= [-1, 1, -1]
        case.weight[2 :: loss.num_centers] *= [-1, -1, 1]
    check(loss, case, 1e-9)
