"""Error versus reject curves against a loop that rejects images one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface import MarginfaceError
from marginface.evaluation import rejection
from marginface.evaluation.rejection import reject_curve


def oracle(scores, same, pairs, quality, fmr):
    """Return FNMR at each share: throw the images out, then try every threshold."""
    curve = []
    ordered = sorted(quality)
    for percent in range(96):
        cut = ordered[percent * len(quality) // 100]
        kept = [i for i, (a, b) in enumerate(pairs) if quality[a] >= cut and quality[b] >= cut]
        right = [scores[i] for i in kept if same[i]]
        wrong = [scores[i] for i in kept if not same[i]]
        if not right or not wrong:
            break
        misses = [
            sum(score < threshold for score in right) / len(right)
            for threshold in [*right, *wrong, np.inf]
            if sum(score >= threshold for score in wrong) / len(wrong) <= fmr
        ]
        curve.append(min(misses))
    return curve


@st.composite
def judged_pairs(draw):
    images = draw(st.integers(2, 12))
    quality = draw(st.lists(st.integers(1, 6).map(float), min_size=images, max_size=images))
    image = st.integers(0, images - 1)
    pairs = draw(st.lists(st.tuples(image, image), min_size=2, max_size=30))
    score = st.integers(-4, 4).map(lambda value: value / 4)
    scores = draw(st.lists(score, min_size=len(pairs), max_size=len(pairs)))
    same = draw(st.lists(st.booleans(), min_size=len(pairs) - 2, max_size=len(pairs) - 2))
    return scores, [True, False, *same], pairs, quality


def curve_of(scores, same, pairs, quality, fmr):
    pair_quality = [min(quality[a], quality[b]) for a, b in pairs]
    return reject_curve(scores, same, pair_quality, quality, fmr=fmr)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(judged_pairs(), st.sampled_from([0.0, 1e-3, 0.2, 0.5, 1.0]))
def test_agrees_with_the_literal_oracle_with_ties_and_duplicates(judged, fmr):
    found = curve_of(*judged, fmr)
    assert found.fnmr.tolist() == oracle(*judged, fmr)
    assert found.share.tolist() == [percent / 100 for percent in range(len(found.fnmr))]


@pytest.mark.parametrize("fmr", [1e-3, 0.3])
def test_agrees_where_the_threshold_lies_beyond_the_first_head_of_scores(fmr, monkeypatch):
    monkeypatch.setattr(rejection, "HEAD", 4)
    rng = np.random.default_rng(0)
    quality = rng.random(60)
    pairs = rng.integers(0, 60, (400, 2))
    same = rng.random(400) < 0.2
    # Different pairs of low quality score highest, so many heads hold none that is left.
    low = 1 - np.minimum(quality[pairs[:, 0]], quality[pairs[:, 1]])
    scores = np.where(same, rng.random(400), low + 0.01 * rng.random(400))
    found = curve_of(scores, same, pairs, quality, fmr)
    assert found.fnmr.tolist() == oracle(scores.tolist(), same, pairs, quality, fmr)


def test_the_order_of_images_and_pairs_does_not_matter():
    rng = np.random.default_rng(1)
    quality = rng.integers(1, 5, 40).astype(float)
    pairs, same = rng.integers(0, 40, (500, 2)), rng.random(500) < 0.4
    scores = rng.random(500)
    plain = curve_of(scores, same, pairs, quality, 0.05)
    order = rng.permutation(500)
    images = rng.permutation(40)
    moved = curve_of(
        scores[order], same[order], np.argsort(images)[pairs[order]], quality[images], 0.05
    )
    assert moved.fnmr.tolist() == plain.fnmr.tolist()


def test_rejecting_by_a_quality_that_tells_errors_lowers_them_and_a_random_one_does_not():
    rng = np.random.default_rng(2)
    quality = rng.random(2_000)
    pairs = rng.integers(0, 2_000, (20_000, 2))
    same = rng.random(20_000) < 0.3
    lower = np.minimum(quality[pairs[:, 0]], quality[pairs[:, 1]])
    scores = rng.normal(size=20_000) + same * (2 + 4 * lower)
    good = curve_of(scores, same, pairs, quality, 1e-3)
    blind = curve_of(scores, same, pairs, rng.permutation(quality), 1e-3)
    assert good.fnmr[60] < 0.5 * good.fnmr[0]
    assert abs(blind.fnmr[30] - blind.fnmr[0]) < 0.05
    assert good.area < blind.area
    middles = (good.fnmr[1:] + good.fnmr[:-1]) / 2
    assert good.area == pytest.approx(float(np.sum(middles)) / 100)


def test_a_curve_ends_where_no_pair_of_a_kind_is_left():
    # The only same pair goes with image 0, at the first share that rejects one image.
    found = reject_curve([0.9, 0.1], [True, False], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0])
    assert len(found.fnmr) == 25
    assert rejection.SHARES == 96


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.1], [True], [1.0], [1.0]), "same and different"),
        (([0.1, 0.2], [True, False], [1.0], [1.0]), r"got \(2,\), \(2,\), \(1,\)"),
        (([0.1, 0.2], [True, False], [1.0, 2.0], []), "image_quality"),
    ],
)
def test_bad_input_is_refused(arguments, words):
    with pytest.raises(MarginfaceError, match=words):
        reject_curve(*arguments)
