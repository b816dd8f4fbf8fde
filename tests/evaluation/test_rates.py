"""True accept rates at false accept rates against scikit-learn and a literal oracle."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from marginface import MarginfaceError
from marginface.evaluation.rates import SortedScores, allowed, wilson
from marginface.evaluation.verification import FAR_TARGETS, verify

TARGETS = (1e-6, 1e-3, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0)
scores = st.lists(st.integers(-8, 8).map(lambda value: value / 8), min_size=1, max_size=40)


def oracle(right: list[float], wrong: list[float], target: float) -> tuple[float, int]:
    """Try every threshold; return the best rate within the target, and its false accepts."""
    points = []
    for threshold in [*right, *wrong, math.inf]:
        false_accepts = sum(score >= threshold for score in wrong)
        if false_accepts / len(wrong) <= target:
            points.append((sum(score >= threshold for score in right) / len(right), false_accepts))
    best = max(rate for rate, _ in points)
    return best, max(accepts for rate, accepts in points if rate == best)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(scores, scores)
def test_agrees_with_the_literal_oracle_with_ties(right, wrong):
    found = SortedScores(right, wrong)
    for target in TARGETS:
        at = found.at(target)
        assert (at.rate, at.false_accepts) == oracle(right, wrong, target)
        assert sum(score >= at.threshold for score in right) / len(right) == at.rate
        assert sum(score >= at.threshold for score in wrong) == at.false_accepts
        assert at.low <= at.rate <= at.high


@pytest.mark.parametrize("decimals", [1, 3, 12])
def test_agrees_with_scikit_learn_and_with_verify(decimals):
    rng = np.random.default_rng(decimals)
    same = rng.random(20_000) < 0.1
    score = np.round(np.tanh(rng.normal(size=20_000) * 0.3 + 0.6 * same), decimals)
    far, tar, _ = roc_curve(same, score, drop_intermediate=False)
    found = SortedScores(score[same], score[~same])
    for target in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        assert found.at(target).rate == tar[far <= target].max()
    plain = verify(score, same)
    assert {name: found.at(float(name)).rate for name in FAR_TARGETS} == plain.tar_at_far


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 20_000_000), st.floats(0, 1))
def test_allowed_is_the_largest_count_within_the_target(count, target):
    k = allowed(target, count)
    assert 0 <= k <= count
    assert k / count <= target
    assert k == count or (k + 1) / count > target


@settings(max_examples=100, deadline=None, derandomize=True)
@given(scores, scores)
def test_a_curve_of_few_scores_holds_every_false_accept_rate_at_its_best(right, wrong):
    far, tar = SortedScores(right, wrong).curve()
    assert (far[0], tar[0], far[-1], tar[-1]) == (0, 0, 1, 1)
    rates = {sum(score >= threshold for score in wrong) / len(wrong) for threshold in wrong}
    assert set(far) == rates | {0.0}
    for at, rate in zip(far[1:], tar[1:], strict=True):
        assert rate == oracle(right, wrong, at)[0]


def test_a_long_curve_is_thinned_to_points_of_the_whole_one():
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(1, 1, 3_000), rng.normal(0, 1, 200_000)
    far, tar = SortedScores(right, wrong).curve()
    truth = np.repeat([True, False], [3_000, 200_000])
    all_far, all_tar, _ = roc_curve(truth, np.append(right, wrong), drop_intermediate=False)
    assert 500 < len(far) <= 1_002
    assert np.diff(far).min() >= 0
    assert set(zip(far.tolist(), tar.tolist(), strict=True)) <= set(
        zip(all_far.tolist(), all_tar.tolist(), strict=True)
    )


def test_wilson_limits_solve_the_score_equation():
    # (p - limit)^2 = z^2 limit (1 - limit) / n at either limit.
    for hits, trials in ((0, 7), (3, 10), (10, 10), (500, 1000)):
        for limit in wilson(hits, trials, 2.0):
            left = (hits / trials - limit) ** 2
            assert left == pytest.approx(4 * limit * (1 - limit) / trials, abs=1e-12)
    assert wilson(0, 5)[0] == 0
    assert wilson(5, 5)[1] == 1


@pytest.mark.parametrize("target", [5e-3, 2e-2, 0.2])
def test_intervals_hold_the_true_rate_as_often_as_they_say(target):
    # Scores are uniform: wrong ones on 0..1, right ones on 0.5..1.5; the true threshold is known.
    rng = np.random.default_rng(5)
    true = min(1.5 - (1 - target), 1.0)
    inside = 0
    for _ in range(400):
        at = SortedScores(0.5 + rng.random(150), rng.random(4_000)).at(target)
        inside += at.low <= true <= at.high
    assert inside >= 0.92 * 400  # 95 %, but for three standard deviations
    assert at.high - at.low < 0.3


@pytest.mark.parametrize("target", [0.05, 0.2, 0.3])
def test_intervals_hold_the_true_rate_where_many_scores_tie(target):
    # Wrong scores are 0, 1, 2, 3 alike, so that 0.25 or more admits all 3s.
    rng = np.random.default_rng(6)
    true = 0.5 if target > 0.25 else 0.0  # right ones are 2 or 3 alike
    inside = 0
    for _ in range(400):
        at = SortedScores(rng.integers(2, 4, 200), rng.integers(0, 4, 2_000)).at(target)
        assert at.low <= at.rate <= at.high
        inside += at.low <= true <= at.high
    assert inside >= 0.92 * 400  # 95 %, but for three standard deviations


def test_no_false_accept_expected_means_no_lower_limit():
    at = SortedScores([0.9] * 50, [0.1] * 50).at(1e-6)
    assert (at.rate, at.low, at.high, at.false_accepts) == (1.0, 0.0, 1.0, 0)


def test_a_score_of_minus_infinity_is_never_accepted():
    found = SortedScores([-np.inf, 0.5], [0.1, 0.2])
    assert found.at(1.0).rate == 0.5
    assert Fraction(found.curve()[1][-1]) == Fraction(1, 2)


@pytest.mark.parametrize(
    ("right", "words"),
    [([np.nan, 1.0], "NaN or infinite"), ([np.inf], "NaN or infinite"), ([], "at least one")],
)
def test_scores_that_are_none_are_refused(right, words):
    with pytest.raises(MarginfaceError, match=words):
        SortedScores(right, [0.1])
    with pytest.raises(MarginfaceError, match=words):
        SortedScores([0.1], right)
