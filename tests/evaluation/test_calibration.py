"""Thresholds for chosen false accept rates hold the true ones as often as they say."""

from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import needed, thresholds
from marginface.evaluation.dependence import independent_pairs

RUNS = 300


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.6, 0.15, count), rng.normal(0.0, 0.15, count)])
    return scores, np.arange(2 * count) < count


def pairs_of_people(share, seed, people=150, count=1500):
    """Draw pairs; `share` of the variance of different ones comes from who is in them."""
    rng = np.random.default_rng(seed)
    alike = rng.normal(0, np.sqrt(share / 2), people)
    first = rng.integers(0, people, count)
    second = (first + rng.integers(1, people, count)) % people
    different = alike[first] + alike[second] + rng.normal(0, np.sqrt(1 - share), count)
    scores = np.concatenate([different, [5.0]])
    who = [np.append(side, people).astype(str) for side in (first, second)]
    return scores, np.arange(count + 1) == count, tuple(who)


@pytest.mark.parametrize(("far", "share"), [(0.1, 0.0), (0.02, 0.0), (0.1, 0.3), (0.02, 0.3)])
def test_the_interval_holds_the_true_threshold_as_often_as_it_says(far, share):
    truth = NormalDist().inv_cdf(1 - far)
    held, blind = 0, 0
    for seed in range(RUNS):
        scores, same, people = pairs_of_people(share, seed)
        (found,) = thresholds(scores, same, [far], people)
        assert found.low < found.value <= found.high
        held += found.low <= truth <= found.high
        (alone,) = thresholds(scores, same, [far])
        blind += alone.low <= truth <= alone.high
    assert held >= 0.92 * RUNS  # 0.95, less two standard errors
    if share:
        assert blind < 0.85 * RUNS  # as if no pairs shared people


def test_rates_at_the_threshold_are_those_of_the_list():
    scores, same = pairs(1000)
    for found in thresholds(scores, same, [1e-1, 1e-2]):
        assert found.false_accepts[0] == np.mean(scores[~same] >= found.value) <= found.far
        assert found.true_accepts[0] == np.mean(scores[same] >= found.value)
        for rate, low, high in (found.false_accepts, found.true_accepts):
            assert low <= rate <= high


def test_far_below_what_a_list_can_show_has_open_ends():
    (found,) = thresholds(*pairs(100), [1e-3])
    assert not found.supported
    assert found.high == 1.0  # nothing bounds it
    assert [needed(far) for far in (0.1, 1e-3, 0.3)] == [100, 10_000, 34]


@pytest.mark.parametrize("fars", [[0], [1.0], [-0.1], [float("nan")], []])
def test_a_rate_out_of_range_is_refused(fars):
    with pytest.raises(MarginfaceError, match="far must be"):
        thresholds(*pairs(100), fars)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_that_share_people_are_worth_what_a_sum_over_all_of_them_says(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 9, 40).astype(str), rng.integers(0, 9, 40).astype(str)
    hits = rng.random(40) < 0.4
    d = hits - hits.mean()
    shared = [
        d[p] * d[q]
        for p, q in product(range(40), repeat=2)
        if {first[p], second[p]} & {first[q], second[q]}
    ]
    variance = max(sum(shared), np.sum(d**2)) / 40**2
    expected = hits.mean() * (1 - hits.mean()) / variance
    assert independent_pairs(hits, first, second) == pytest.approx(expected)
    assert independent_pairs(np.zeros(40, np.bool_), first, second) == 40


def test_a_score_that_all_pairs_share_is_never_the_same() -> None:
    """The threshold lies above it then, and so must the end of its interval."""
    (found,) = thresholds(np.ones(200), np.arange(200) < 100, [0.1])
    assert found.false_accepts[0] == 0
    assert found.low <= 1 < found.value == found.high
