"""The bootstrap of the accuracy over folds: each resample as `verify` would measure it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data.verification.folds import contiguous_folds
from marginface.evaluation.bootstrap import Ranked, accuracies, accuracy_deviation, draw_counts
from marginface.evaluation.verification import verify


def sample(seed: int, pairs: int, decimals: int = 6, apart: float = 1.5):
    rng = np.random.default_rng(seed)
    same = rng.permutation(pairs) % 2 == 0
    return np.round(rng.normal(size=pairs) + apart * same, decimals), same


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
    fold = contiguous_folds(pairs, folds)
    ranked = Ranked(scores, same, fold)
    whole = accuracies(ranked, np.ones((1, pairs), np.int64))[0]
    assert whole == pytest.approx(verify(scores, same, fold).accuracy, abs=1e-12)
    (counts,) = draw_counts(ranked, 3, seed)
    order = np.argsort(-scores, kind="stable")
    for drawn, found in zip(counts, accuracies(ranked, counts), strict=True):
        times = np.empty(pairs, int)
        times[order] = drawn
        resample = (np.repeat(values, times) for values in (scores, same, fold))
        if len(np.unique(fold[times > 0])) > 1:
            assert found == pytest.approx(verify(*resample).accuracy, abs=1e-12)


def test_a_resample_has_as_many_pairs_of_each_kind():
    scores, same = sample(0, 51)
    ranked = Ranked(scores, same, contiguous_folds(51, 7))
    (counts,) = draw_counts(ranked, 20, 0)
    assert (counts == 0).any()
    for kind in (ranked.truth, ~ranked.truth):
        assert (counts[:, kind].sum(1) == kind.sum()).all()
    in_first_fold = counts[:, ranked.fold == 0].sum(1)
    assert np.ptp(in_first_fold) > 0


def test_every_pair_is_drawn_as_often_as_another():
    scores, same = sample(0, 40)
    ranked = Ranked(scores, same, contiguous_folds(40, 4))
    counts = np.concatenate(list(draw_counts(ranked, 20_000, 0)))
    # The variance of a count is below 1.
    assert np.abs(counts.mean(0) - 1).max() < 5 / np.sqrt(20_000)


def test_the_seed_decides_and_the_size_of_blocks_does_not(monkeypatch):
    scores, same = sample(0, 100)
    fold = contiguous_folds(100, 10)
    first = accuracy_deviation(scores, same, fold, resamples=50)
    assert accuracy_deviation(scores, same, fold, resamples=50, seed=0) == first
    assert accuracy_deviation(scores, same, fold, resamples=50, seed=1) != first
    monkeypatch.setattr("marginface.evaluation.bootstrap.NUMBERS_AT_ONCE", 700)
    assert accuracy_deviation(scores, same, fold, resamples=50) == first
