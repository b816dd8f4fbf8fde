"""Verification metrics against scikit-learn and against a slow, literal oracle."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from marginface import MarginfaceError
from marginface.evaluation.curves import write_result
from marginface.evaluation.verification import FAR_TARGETS, roc, verify
from marginface.vectors import pair_scores


def oracle_threshold(scores: list[float], same: list[bool]) -> float:
    """Try every distinct cut, strictest first; keep the first of the best; place it midway."""
    distinct = sorted(set(scores), reverse=True)
    cuts = [np.nextafter(distinct[0], np.inf)]
    cuts += [(upper + lower) / 2 for upper, lower in pairwise(distinct)]
    cuts += [distinct[-1]]
    return float(max(cuts, key=lambda cut: hits(scores, same, cut)))  # max keeps the first


def hits(scores: list[float], same: list[bool], threshold: float) -> int:
    return sum((score >= threshold) == truth for score, truth in zip(scores, same, strict=True))


def oracle_folds(scores: list[float], same: list[bool], folds: int) -> list[float]:
    """Cut each kind of pairs as KFold does; fold k has part k of both."""
    tests: list[list[int]] = [[] for _ in range(folds)]
    for kind in (True, False):
        places = [at for at, truth in enumerate(same) if truth == kind]
        sizes = [len(places) // folds + (fold < len(places) % folds) for fold in range(folds)]
        for test, size in zip(tests, sizes, strict=True):
            test += [places.pop(0) for _ in range(size)]
    accuracies = []
    for test in tests:
        train = [at for at in range(len(scores)) if at not in test]
        threshold = oracle_threshold([scores[i] for i in train], [same[i] for i in train])
        right = hits([scores[i] for i in test], [same[i] for i in test], threshold)
        accuracies.append(right / len(test))
    return accuracies


def oracle_auc(scores: list[float], same: list[bool]) -> float:
    wins = Fraction(0)
    positives = [s for s, truth in zip(scores, same, strict=True) if truth]
    negatives = [s for s, truth in zip(scores, same, strict=True) if not truth]
    for p in positives:
        for n in negatives:
            wins += Fraction(1) if p > n else Fraction(1, 2) if p == n else Fraction(0)
    return float(wins / (len(positives) * len(negatives)))


def oracle_rates(scores: list[float], same: list[bool], threshold: float) -> tuple[float, float]:
    accepted = [truth for s, truth in zip(scores, same, strict=True) if s >= threshold]
    return accepted.count(False) / same.count(False), accepted.count(True) / same.count(True)


def oracle_tar(scores: list[float], same: list[bool], target: float) -> float:
    points = [oracle_rates(scores, same, t) for t in [*scores, np.inf]]
    return max(tar for far, tar in points if far <= target)


def oracle_eer(scores: list[float], same: list[bool]) -> float:
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    points = [oracle_rates(scores, same, t) for t in thresholds]
    for (far0, tar0), (far1, tar1) in pairwise(points):
        if far1 >= 1 - tar1:  # far0 + w (far1 - far0) = 1 - tar0 - w (tar1 - tar0)
            share = (1 - tar0 - far0) / ((far1 - far0) + (tar1 - tar0))
            return far0 + share * (far1 - far0)
    raise AssertionError("an ROC always crosses the diagonal")


@st.composite
def scored_pairs(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    size = draw(st.integers(4, 40))
    # Few distinct values, so that ties within and between both kinds are the rule; the values are
    # sixteenths, whose midpoints are exact.
    values = st.integers(-16, 16).map(lambda value: value / 16)
    scores = draw(st.lists(values, min_size=size, max_size=size))
    same = draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))
    return scores, draw(st.permutations([*same, True, False]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(scored_pairs(), st.integers(2, 4))
def test_agrees_with_the_literal_oracle_with_ties(pairs, folds):
    scores, same = pairs
    assume(folds <= max(sum(same), len(same) - sum(same)))
    result = verify(scores, same, folds)
    assert result.fold_accuracies == tuple(oracle_folds(scores, same, folds))
    assert result.accuracy == pytest.approx(np.mean(result.fold_accuracies), abs=1e-15)
    assert result.threshold == oracle_threshold(scores, same)
    assert result.best_accuracy == hits(scores, same, result.threshold) / len(scores)
    assert result.auc == pytest.approx(oracle_auc(scores, same), abs=1e-15)
    assert result.eer == pytest.approx(oracle_eer(scores, same), abs=1e-12)
    for target in FAR_TARGETS:
        assert result.tar_at_far[target] == oracle_tar(scores, same, float(target))


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("pairs", [997, 4000])
def test_agrees_with_scikit_learn(decimals, pairs):
    rng = np.random.default_rng(decimals)
    same = rng.random(pairs) < 0.4
    scores = np.round(np.tanh(rng.normal(size=pairs) * 0.3 + 0.4 * same), decimals)
    result = verify(scores, same)
    assert result.auc == pytest.approx(roc_auc_score(same, scores), abs=1e-13)
    far, tar, thresholds = roc_curve(same, scores, drop_intermediate=False)
    ours = roc(scores, same)
    np.testing.assert_array_equal(ours.far, far)
    np.testing.assert_array_equal(ours.tar, tar)
    for target in FAR_TARGETS:
        assert result.tar_at_far[target] == tar[far <= float(target)].max()
    accuracies = [np.mean((scores >= threshold) == same) for threshold in thresholds]
    assert result.best_accuracy == max(accuracies)
    assert np.mean((scores >= result.threshold) == same) == result.best_accuracy


@settings(max_examples=50, deadline=None, derandomize=True)
@given(scored_pairs())
def test_only_the_order_of_scores_matters(pairs):
    scores, same = np.array(pairs[0]), np.array(pairs[1])
    plain, warped = verify(scores, same, 2), verify(np.exp(3 * scores), same, 2)
    assert (plain.auc, plain.eer, plain.tar_at_far) == (warped.auc, warped.eer, warped.tar_at_far)
    assert plain.best_accuracy == warped.best_accuracy


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6, 1, 3, 5, 7]])
def test_folds_are_contiguous_parts_of_either_kind(order):
    # The last quarter is judged by the others' threshold, 0.5, and is wrong everywhere.
    scores = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9])[order]
    same = np.array([True, False, True, False, True, False, True, False])[order]
    assert verify(scores, same, folds=4).fold_accuracies == (1.0, 1.0, 1.0, 0.0)


def test_a_list_may_have_folds_of_its_own():
    scores, same = [0.9, 0.1] * 3 + [0.1, 0.9], [True, False] * 4
    folds = [7, 7, 3, 3, 9, 9, 5, 5]
    assert verify(scores, same, folds).fold_accuracies == (1.0, 0.0, 1.0, 1.0)
    assert verify(scores, same, np.array(folds) == 5).fold_accuracies == (0.5, 0.0)


@pytest.mark.parametrize("score", [0.0, 0.5, -1.0])
@pytest.mark.parametrize("same_first", [True, False])
def test_a_constant_is_right_in_half_of_all_pairs(score, same_first):
    same = np.arange(1000) < 500
    result = verify(np.full(1000, score), same == same_first)
    assert (result.accuracy, result.accuracy_std) == (0.5, 0.0)


def test_the_order_of_the_kinds_does_not_matter():
    rng = np.random.default_rng(0)
    lfw = np.tile(np.repeat([True, False], 300), 10)
    scores = rng.normal(size=6000) + 2 * lfw
    sorted_ = np.argsort(~lfw, kind="stable")
    assert verify(scores, lfw) == verify(scores[sorted_], lfw[sorted_])
    assert verify(scores, lfw) == verify(scores, lfw, np.repeat(np.arange(10), 600))


def test_the_strictest_of_equally_good_thresholds_is_taken():
    # Between 4 and 3, and between 2 and 1, a threshold gets 3 of 4 right.
    assert verify([4.0, 3.0, 2.0, 1.0], [True, False, True, False], folds=2).threshold == 3.5


@pytest.mark.parametrize("lower", [0.3, float(np.nextafter(0.3, 1))])  # midpoints round both ways
def test_a_threshold_between_neighbouring_floats_separates_them(lower):
    upper = float(np.nextafter(lower, 1))
    result = verify([upper, lower] * 4, [True, False] * 4, folds=2)
    assert (result.accuracy, result.best_accuracy, result.threshold) == (1.0, 1.0, upper)


def test_scores_that_rank_backwards_are_all_rejected_or_all_accepted():
    mostly_different = verify([1.0, 0.9, 0.8, 0.0], [False, False, False, True], folds=2)
    assert mostly_different.threshold > 1.0
    assert mostly_different.best_accuracy == 0.75
    mostly_same = verify([0.0, 0.1, 0.2, 1.0], [True, True, True, False], folds=2)
    assert (mostly_same.threshold, mostly_same.best_accuracy) == (0.0, 0.75)


def test_far_is_not_exceeded_by_a_rounding_error():
    # One false accept of 1,000 is a FAR of exactly 1e-3; the ties at 0.5 would make it two.
    scores = np.array([0.9] * 10 + [0.8, 0.7] + [0.5] * 5 + [0.5] + [0.1] * 998)
    same = np.array([True] * 10 + [False, True] + [True] * 5 + [False] + [False] * 998)
    result = verify(scores, same)
    assert result.tar_at_far == {"1e-1": 1.0, "1e-2": 1.0, "1e-3": 11 / 16, "1e-4": 10 / 16}


@pytest.mark.parametrize(
    ("scores", "same", "folds", "words"),
    [
        ([0.1] * 20, [True] * 20, 10, "all 20 pairs are 'same' pairs"),
        ([0.1] * 20, [False] * 20, 10, "all 20 pairs are 'different' pairs"),
        (
            [0.1, 0.2],
            [True, False],
            10,
            "1 same and 1 different pairs cannot be split",
        ),
        ([0.1, 0.2], [True, False], 1, "folds must be at least 2, got 1"),
        ([0.1, np.nan], [True, False], 2, "1 of 2 scores are NaN or infinite, first at pair 1"),
        ([0.1, np.inf], [True, False], 2, "NaN or infinite"),
        ([0.1, 0.2], [1, 0], 2, "same must be bool, got int64"),
        ([0.1, 0.2], [True], 2, r"shapes \(2,\) and \(1,\)"),
        ([[0.1], [0.2]], [[True], [False]], 2, r"shapes \(2, 1\)"),
    ],
)
def test_bad_input_is_refused(scores, same, folds, words):
    with pytest.raises(MarginfaceError, match=words):
        verify(scores, same, folds)


def test_pair_scores_are_cosines_whatever_the_block(monkeypatch):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(9, 5)).astype(np.float32)
    first, second = rng.integers(0, 9, (2, 23))
    expected = [
        float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))
        for a, b in zip(
            embeddings[first].astype(float), embeddings[second].astype(float), strict=True
        )
    ]
    np.testing.assert_allclose(pair_scores(embeddings, first, second), expected, rtol=1e-12)
    monkeypatch.setattr("marginface.vectors.PAIRS_AT_ONCE", 4)
    np.testing.assert_allclose(pair_scores(embeddings, first, second), expected, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_embeddings_without_direction_are_refused(value):
    embeddings = np.ones((4, 3))
    embeddings[2] = value
    with pytest.raises(MarginfaceError, match=r"1 of 4 embeddings have no direction.*index 2"):
        pair_scores(embeddings, [0], [1])


def test_the_report_is_valid_json_and_a_picture(tmp_path):
    rng = np.random.default_rng(1)
    same = np.arange(100) % 2 == 0
    scores = rng.normal(size=100) * 0.2 + 0.3 * same
    result = verify(scores, same)
    metrics, figure = write_result(result, scores, same, tmp_path / "new" / "report")
    values = json.loads(metrics.read_text())
    assert values["pairs"] == 100
    assert (values["same_pairs"], values["different_pairs"]) == (50, 50)
    for key in ("accuracy", "accuracy_std", "auc", "eer", "threshold", "best_accuracy"):
        assert values[key] == getattr(result, key)
    assert values["tar_at_far"] == result.tar_at_far
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in figure.parent.iterdir()) == [
        "metrics.json",
        "verification.png",
    ]


def test_a_report_cannot_go_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    same = np.array([True, False] * 5)
    with pytest.raises(MarginfaceError, match=r"needs a folder, but .*file is a file"):
        write_result(verify(same * 1.0, same), same * 1.0, same, tmp_path / "file" / "report")


@pytest.mark.parametrize(("different", "none"), [(9, True), (10, False)])
def test_a_rate_admits_none_of_fewer_different_pairs_than_its_inverse(different, none):
    same = np.arange(2 * different) < different
    result = verify(same * 1.0, same, folds=2)
    assert result.admits_none("1e-1") is none
    assert result.admits_none("1e-2")
