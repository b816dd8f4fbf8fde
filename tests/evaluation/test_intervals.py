"""Intervals of verification: how often they hold the truth, and what they are at the edges."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.errors import MarginfaceError
from marginface.evaluation.auc_interval import auc_interval
from marginface.evaluation.intervals import FEWEST, intervals
from marginface.evaluation.threshold_intervals import one_threshold_interval
from marginface.evaluation.verification import accepts, verify

UNIT = NormalDist()


@dataclass(frozen=True)
class Known:
    """Distributions of scores whose figures are formulas."""

    draw: Callable[[np.random.Generator, int], np.ndarray]  # same pairs
    other: Callable[[np.random.Generator, int], np.ndarray]  # different pairs
    auc: float
    best_accuracy: float
    tar: Callable[[float], float]  # at a FAR


def normal(auc: float) -> Known:
    apart = UNIT.inv_cdf(auc) * 2**0.5
    return Known(
        lambda rng, count: rng.normal(apart, 1, count),
        lambda rng, count: rng.normal(0, 1, count),
        auc,
        UNIT.cdf(apart / 2),
        lambda far: 1 - UNIT.cdf(UNIT.inv_cdf(1 - far) - apart),
    )


def exponential(auc: float) -> Known:
    mean = auc / (1 - auc)
    best = log(mean) * mean / (mean - 1)
    return Known(
        lambda rng, count: rng.exponential(mean, count),
        lambda rng, count: rng.exponential(1, count),
        auc,
        (1 + np.exp(-best / mean) - np.exp(-best)) / 2,
        lambda far: far ** (1 / mean),
    )


def shares_held(known: Known, pairs: int, sets: int, seed: int) -> dict[str, float]:
    """Return the share of sets in which each interval holds its truth."""
    rng = np.random.default_rng(seed)
    same = np.arange(2 * pairs) < pairs
    truth = {"auc": known.auc, "best_accuracy": known.best_accuracy}
    held = dict.fromkeys([*truth, "1e-1"], 0)
    for _ in range(sets):
        scores = np.append(known.draw(rng, pairs), known.other(rng, pairs))
        ends = intervals(scores, same, resamples=1)
        for name, value in truth.items():
            low, high = getattr(ends, name)
            held[name] += low <= value <= high
        low, high = ends.tar_at_far["1e-1"]
        held["1e-1"] += low <= known.tar(0.1) <= high
    return {name: count / sets for name, count in held.items()}


MANY = [normal(0.7), normal(0.9), normal(0.98), exponential(0.9)]


@pytest.mark.parametrize("pairs", [10, 20, 50])
@pytest.mark.parametrize("known", MANY)
def test_intervals_hold_the_truth_of_small_sets(known, pairs):
    # 95 % of 150 sets with three standard deviations.
    for name, share in shares_held(known, pairs, 150, pairs).items():
        assert share >= 0.895, name


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [10, 20, 50])
@pytest.mark.parametrize("known", MANY)
def test_intervals_hold_the_truth_of_a_thousand_sets(known, pairs):
    for name, share in shares_held(known, pairs, 1000, 7).items():
        assert 0.92 <= share <= 0.98 + 0.013, name  # and three standard deviations of 1,000 sets


@pytest.mark.parametrize("pairs", [1, 2, 5, 10, 20, 30, 300])
def test_an_interval_next_to_0_or_1_is_no_point(pairs):
    same = np.arange(2 * pairs) < pairs
    right, wrong = intervals(same * 1.0, same), intervals(~same * 1.0, same)
    assert right.auc[0] < 1 == right.auc[1]
    assert wrong.auc[0] == 0 < wrong.auc[1]
    assert 1 - right.auc[0] == pytest.approx(wrong.auc[1])
    assert right.best_accuracy[0] < 1 == right.best_accuracy[1]
    assert right.eer[0] == 0 < right.eer[1]
    for low, high in right.tar_at_far.values():
        assert low < 1 == high
    if pairs >= FEWEST:
        assert right.accuracy[0] < 1 == right.accuracy[1]
    if pairs > 1:  # more pairs tell more
        fewer = intervals(same[1:-1] * 1.0, same[1:-1], np.arange(2 * pairs - 2) % 2)
        assert fewer.auc[0] < right.auc[0]


@pytest.mark.parametrize("kinds", [(10, 10), (29, 400), (400, 29), (1, 40), (30, 30)])
def test_few_pairs_have_no_interval_over_folds_and_say_why(kinds):
    truth = np.arange(sum(kinds)) < kinds[0]
    scores = np.random.default_rng(0).normal(size=len(truth)) + truth
    found = intervals(scores, truth, resamples=20)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    if min(kinds) < FEWEST:
        assert record["accuracy"] is found.accuracy is None
        assert record["accuracy_note"] == "none under 30 + 30 pairs"
    else:
        assert record["accuracy"] == list(found.accuracy)
        assert record["accuracy_note"] == ""


def test_the_accuracy_over_folds_scatters_as_told():
    rng = np.random.default_rng(0)
    same = np.arange(80) < 40
    results = []
    for seed in range(120):
        scores = rng.normal(size=80) + 1.8 * same
        ends = intervals(scores, same, resamples=100, seed=seed).accuracy
        results.append((verify(scores, same).accuracy, *ends))
    accuracy, low, high = np.array(results).T
    assert 0.90 <= np.mean((low <= accuracy.mean()) & (accuracy.mean() <= high)) <= 1.0
    assert (low < accuracy).all()
    assert (accuracy < high).all()


def test_large_sets_have_the_interval_of_delong():
    # By the package pROC's definition: the variance of both kinds' placements over their numbers.
    rng = np.random.default_rng(1)
    same, different = rng.normal(1.8, 2, 3000), rng.normal(0, 1, 3000)
    above = np.mean(same[:, None] > different, axis=1), np.mean(same[:, None] > different, axis=0)
    deviation = np.sqrt(sum(each.var(ddof=1) / 3000 for each in above))
    low, high = auc_interval(same, different, 1.96)
    assert low == pytest.approx(above[0].mean() - 1.96 * deviation, abs=4e-4)
    assert high == pytest.approx(above[0].mean() + 1.96 * deviation, abs=4e-4)


def left_out_by_hand(scores: np.ndarray, same: np.ndarray) -> int:
    """Return how many pairs are right by the best of the other pairs' scores as a threshold."""
    right = 0
    for at in range(len(scores)):
        others, truth = np.delete(scores, at), np.delete(same, at)
        cuts = sorted({*others.tolist(), scores[at]}, reverse=True)
        cuts = [np.inf, *cuts]
        best = max(cuts, key=lambda cut: np.sum((others >= cut) == truth))  # the first of the best
        right += (scores[at] >= best) == same[at]
    return right


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=25))
def test_pairs_are_left_out_in_turn(drawn):
    scores = np.array([score for score, _ in drawn] + [3, 4], float)
    same = np.array([flag for _, flag in drawn] + [True, False])
    order = np.argsort(-scores, kind="stable")
    accepted = accepts(scores[order], same[order])
    chosen = verify(scores, same, np.arange(len(same)) % 2).best_accuracy
    kinds = max(same.sum(), (~same).sum())
    left_out = max(left_out_by_hand(scores, same), kinds) / len(same)
    low, high = one_threshold_interval(*accepted, 1e-9)  # no width but that of both accuracies
    assert low == pytest.approx((chosen + left_out) / 2, abs=1e-6)
    assert high == pytest.approx(max((2 * chosen + left_out) / 3, chosen), abs=1e-6)


def test_intervals_hold_what_they_should_and_grow_with_the_level():
    rng = np.random.default_rng(3)
    same = rng.permutation(400) % 2 == 0
    scores = rng.normal(size=400) + 1.5 * same
    narrow, wide = (intervals(scores, same, level=level) for level in (0.5, 0.99))
    result = verify(scores, same)
    for name in ("accuracy", "best_accuracy", "auc", "eer"):
        low, high = getattr(narrow, name)
        assert getattr(wide, name)[0] < low < high < getattr(wide, name)[1]
        assert getattr(wide, name)[0] <= getattr(result, name) <= getattr(wide, name)[1]
    assert list(wide.tar_at_far) == list(result.tar_at_far)
    low, high = narrow.tar_at_far["1e-1"]
    assert wide.tar_at_far["1e-1"][0] < low < result.tar_at_far["1e-1"] < high
    assert high < wide.tar_at_far["1e-1"][1]
    assert wide.to_json()["tar_at_far"]["1e-1"] == list(wide.tar_at_far["1e-1"])
    assert (wide.level, wide.resamples) == (0.99, 1000)


@pytest.mark.parametrize("target", ["1e-2", "1e-3", "1e-4"])
def test_the_true_tar_lies_in_the_interval_where_few_or_no_false_accepts_are_allowed(target):
    known = normal(UNIT.cdf(1.5 / 2**0.5))
    rng = np.random.default_rng(2)
    same = np.arange(1000) < 500
    inside = 0
    for _ in range(100):
        scores = np.append(known.draw(rng, 500), known.other(rng, 500))
        low, high = intervals(scores, same, resamples=1).tar_at_far[target]
        inside += low <= known.tar(float(target)) <= high
    assert inside >= 90


def test_a_level_may_be_as_near_to_1_as_a_number_can():
    same = np.arange(80) % 2 == 0
    scores = np.random.default_rng(0).normal(size=80) + same
    found = intervals(scores, same, resamples=5, level=np.nextafter(1, 0))
    ends = (found.accuracy, found.best_accuracy, found.auc, found.eer, *found.tar_at_far.values())
    assert all(0 <= low <= high <= 1 for low, high in ends)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"resamples": 0}, "resamples must be at least 1"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 99}, "cannot be split into 99 folds"),
    ],
)
def test_bad_arguments(changes, message):
    same = np.arange(20) % 2 == 0
    with pytest.raises(MarginfaceError, match=message):
        intervals(np.arange(20.0), same, **changes)
