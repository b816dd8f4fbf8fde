"""Bootstrap intervals: each resample as `verify` would measure it, and how often they are right."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data.verification.folds import contiguous_folds
from marginface.errors import MarginfaceError
from marginface.evaluation.bootstrap import Ranked, bootstrap, draws_of, figures_of
from marginface.evaluation.verification import verify


def sample(seed: int, pairs: int, decimals: int = 6, apart: float = 1.5):
    rng = np.random.default_rng(seed)
    same = rng.permutation(pairs) % 2 == 0
    return np.round(rng.normal(size=pairs) + apart * same, decimals), same


def ranked(scores, same, folds: int):
    """Return the pairs by falling score, and the order that brings them there."""
    order = np.argsort(-scores, kind="stable")
    fold = contiguous_folds(len(scores), folds)
    return Ranked(scores[order], same[order], fold[order], folds), order


def figures(result) -> list[float]:
    return [result.accuracy, result.auc, result.eer]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    pairs=st.integers(8, 60),
    folds=st.integers(2, 8),
    decimals=st.sampled_from([0, 1, 6]),
    apart=st.sampled_from([-2.0, 0.0, 1.0, 9.0]),
)
def test_a_resample_is_measured_as_verify_measures_it(seed, pairs, folds, decimals, apart):
    scores, same = sample(seed, pairs, decimals, apart)
    by_score, order = ranked(scores, same, folds)
    whole = figures_of(by_score, np.ones((1, pairs), np.int64))[0]
    fold = contiguous_folds(pairs, folds)
    np.testing.assert_allclose(whole, figures(verify(scores, same, fold)), rtol=0, atol=1e-12)
    (counts,) = draws_of(by_score, 3, np.random.default_rng(seed))
    for drawn, found in zip(counts, figures_of(by_score, counts), strict=True):
        times = np.empty(pairs, int)
        times[order] = drawn
        again = verify(*(np.repeat(each, times) for each in (scores, same, fold)))
        np.testing.assert_allclose(found, figures(again), rtol=0, atol=1e-12)


def test_a_resample_has_as_many_pairs_of_each_kind_in_each_fold():
    scores, same = sample(0, 50)
    by_score, _ = ranked(scores, same, 7)
    (counts,) = draws_of(by_score, 20, np.random.default_rng(0))
    assert (counts == 0).any()
    for fold in range(7):
        for kind in (True, False):
            members = (by_score.fold == fold) & (by_score.truth == kind)
            assert (counts[:, members].sum(1) == members.sum()).all()


def test_every_pair_is_drawn_as_often_as_another():
    scores, same = sample(0, 40)
    by_score, _ = ranked(scores, same, 4)
    counts = np.concatenate(list(draws_of(by_score, 20_000, np.random.default_rng(0))))
    # The variance of a count is below 1.
    assert np.abs(counts.mean(0) - 1).max() < 5 / np.sqrt(20_000)


def test_the_seed_decides_and_the_size_of_blocks_does_not(monkeypatch):
    scores, same = sample(0, 100)
    first = bootstrap(scores, same, resamples=50)
    assert bootstrap(scores, same, resamples=50, seed=0) == first
    assert bootstrap(scores, same, resamples=50, seed=1) != first
    monkeypatch.setattr("marginface.evaluation.bootstrap.NUMBERS_AT_ONCE", 700)
    assert bootstrap(scores, same, resamples=50) == first


def test_intervals_hold_what_they_should_and_grow_with_the_level():
    scores, same = sample(3, 400)
    narrow, wide = (bootstrap(scores, same, level=level) for level in (0.5, 0.99))
    result = verify(scores, same)
    for name in ("accuracy", "auc", "eer"):
        low, high = getattr(narrow, name)
        assert getattr(wide, name)[0] < low < high < getattr(wide, name)[1]
        assert getattr(wide, name)[0] <= getattr(result, name) <= getattr(wide, name)[1]
    assert list(wide.tar_at_far) == list(result.tar_at_far)
    low, high = narrow.tar_at_far["1e-1"]
    assert wide.tar_at_far["1e-1"][0] < low < result.tar_at_far["1e-1"] < high
    assert high < wide.tar_at_far["1e-1"][1]
    assert wide.to_json()["tar_at_far"]["1e-1"] == list(wide.tar_at_far["1e-1"])
    assert (wide.level, wide.resamples) == (0.99, 1000)


def test_the_true_auc_lies_in_the_interval_as_often_as_said():
    true = 0.8555778168267576  # Phi(1.5 / sqrt 2), of two normal distributions 1.5 apart
    inside = 0
    for seed in range(200):
        low, high = bootstrap(*sample(seed, 200), resamples=200, seed=seed).auc
        inside += low <= true <= high
    assert 0.90 <= inside / 200 <= 0.99  # 95% of 200, with three standard deviations


@pytest.mark.parametrize("target", ["1e-2", "1e-3", "1e-4"])
def test_the_true_tar_lies_in_the_interval_where_few_or_no_false_accepts_are_allowed(target):
    score_at = NormalDist().inv_cdf(1 - float(target))
    true = 1 - NormalDist(1.5).cdf(score_at)
    inside = 0
    for seed in range(100):
        low, high = bootstrap(*sample(seed, 1000), resamples=1, seed=seed).tar_at_far[target]
        inside += low <= true <= high
    assert inside >= 90


def test_perfect_scores_and_folds_of_one_kind():
    same = np.arange(100) < 50
    perfect = bootstrap(same * 1.0, same, resamples=20)
    assert perfect.accuracy == perfect.auc == (1.0, 1.0)
    assert perfect.eer == (0.0, 0.0)


def test_a_level_may_be_as_near_to_1_as_a_number_can():
    scores, same = sample(0, 20)
    found = bootstrap(scores, same, resamples=5, level=np.nextafter(1, 0))
    assert all(0 <= low <= high <= 1 for low, high in found.tar_at_far.values())


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
    scores, same = sample(0, 20)
    with pytest.raises(MarginfaceError, match=message):
        bootstrap(scores, same, **changes)
