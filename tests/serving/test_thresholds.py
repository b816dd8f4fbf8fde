"""Thresholds are kept with a model, for the way that it is used, and decide or refuse."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import thresholds
from marginface.serving import thresholds as kept
from marginface.serving.thresholds import Calibration, find_calibration, from_text, to_text

MODEL, OTHER, DETECTOR = "a" * 64, "b" * 64, "c" * 64
FILE = Path("m.onnx")


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.6, 0.15, count), rng.normal(0.0, 0.15, count)])
    return scores, np.arange(2 * count) < count


def calibration(fingerprint=MODEL, *, flip=True, faces="crops", count=1000, fars=(0.1, 0.01, 1e-3)):
    return Calibration(
        fingerprint, flip, faces, "pairs.txt", count, count, thresholds(*pairs(count), fars)
    )


def model(fingerprint=MODEL):
    return SimpleNamespace(fingerprint=fingerprint)


def test_what_is_written_is_read():
    written = (calibration(), calibration(flip=False), calibration(faces=DETECTOR))
    assert from_text(to_text(written), FILE) == written


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"},
        {"version": None},
        {"calibrations": 3},
        {"more": 1},
    ],
)
def test_what_is_not_ours_is_refused(change):
    values = json.loads(to_text([calibration()]))
    with pytest.raises(MarginfaceError, match="are not what marginface writes; calibrate"):
        from_text(json.dumps(values | change), FILE)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1},
        {"fingerprint": "../x"},
        {"different_pairs": 0},
        {"thresholds": [{}]},
        {"thresholds": [{"far": "x"}]},
        {"more": 1},
    ],
)
def test_a_calibration_that_is_not_ours_is_refused(change):
    values = json.loads(to_text([calibration()]))
    values["calibrations"][0] |= change
    with pytest.raises(MarginfaceError, match="are not what marginface writes"):
        from_text(json.dumps(values), FILE)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nan", '{"version": 1, "calibrations": [NaN]}'])
def test_what_is_no_json_of_ours_is_refused(text):
    with pytest.raises(MarginfaceError, match="are not what marginface writes"):
        from_text(text, FILE)


def test_a_later_version_says_so():
    with pytest.raises(MarginfaceError, match="version 2, this marginface knows version 1; update"):
        from_text('{"version": 2}', FILE)


def test_a_score_decides_by_the_interval():
    found = calibration()
    at = found.at(0.1)
    answers = [found.decide(score, 0.1).answer for score in (at.high, at.value, at.low, -1, 1)]
    assert answers == ["same", "unsure", "unsure", "not same", "same"]
    assert found.decide(np.nextafter(at.low, -1), 0.1).answer == "not same"
    assert found.decide(0.5, 0.1).threshold == at


@pytest.mark.parametrize(
    ("far", "message"),
    [
        (0.2, "not calibrated for a false accept rate of 0.2, but for: 0.1, 0.01; .* far=0.2"),
        (1e-3, "pairs.txt has 1,000 different pairs, too few .* 0.001, which takes 10,000; .*0.01"),
    ],
)
def test_what_it_cannot_decide_it_refuses(far, message):
    with pytest.raises(MarginfaceError, match=message):
        calibration().decide(0.5, far)


def test_the_calibration_for_the_use_is_taken():
    crops, plain, photos = calibration(), calibration(flip=False), calibration(faces=DETECTOR)
    every = (crops, plain, photos, calibration(OTHER))
    assert find_calibration(every, model(), flip=True) == (crops, "")
    assert find_calibration(every, model(), flip=False) == (plain, "")
    assert find_calibration(every, model(), faces=DETECTOR) == (photos, "")
    found, note = find_calibration(every, model(), flip=True, faces="d" * 64)
    assert (found, "measured on the crops of pairs.txt, not with this detector" in note) == (
        *(crops, True),
    )


@pytest.mark.parametrize(
    ("there", "use", "message"),
    [
        ((), {}, "the model has no thresholds; marginface calibrate"),
        ((calibration(OTHER),), {}, "another model .*bbbbbbbbbbbb, this is aaaaaaaaaaaa.; calib"),
        ((calibration(),), {"flip": False}, "not calibrated for this use, but for: crops, with --"),
        ((calibration(faces=DETECTOR),), {}, "but for: photos with a detector, with --flip"),
        (
            (calibration(faces=DETECTOR),),
            {"faces": "d"},
            "with another detector or --min-score, wi",
        ),
        ((calibration(faces=DETECTOR),), {"faces": DETECTOR, "flip": False}, "with this detector,"),
    ],
)
def test_another_use_is_refused(there, use, message):
    with pytest.raises(MarginfaceError, match=message):
        find_calibration(there, model(), **use)


def test_the_same_use_is_replaced_and_another_added():
    first, again = calibration(), calibration(count=500)
    other = calibration(flip=False)
    assert kept.added(kept.added([first], other), again) == (other, again)


def test_rates_that_differ_by_rounding_are_one():
    found = calibration(fars=(0.1, 0.1 + 1e-17, 0.3, 0.1 + 0.2, 1e-3, "0.001"))
    assert [each.far for each in found.thresholds] == pytest.approx([0.3, 0.1, 1e-3], rel=1e-15)
    for far in (0.3, 3e-1, 0.1 + 0.2):
        assert found.at(far) is found.thresholds[0]


@pytest.mark.parametrize("far", [0, 1, -1, 2, float("nan"), 1e-320, True, "0.1"])
def test_a_rate_is_a_number_between_0_and_1(far):
    with pytest.raises(MarginfaceError, match=r"^far must be .*, got "):
        calibration().at(far)


def test_of_two_flips_the_last_is_taken_and_said():
    crops, plain = calibration(fars=(0.1, 0.01)), calibration(flip=False, fars=(0.1,))
    for there, flip in (((crops, plain), False), ((plain, crops), True)):
        found, note = find_calibration(there, model(), far=0.1)
        assert found.flip is flip
        assert f"measured last are taken (flip={flip}); flip={not flip} takes the others" in note
    assert find_calibration((crops, plain), model(), far=0.1, flip=True) == (crops, "")
    with pytest.raises(MarginfaceError, match=r"take one .*; with flip=True it has that rate$"):
        kept.find_calibration((crops, plain), model(), far=0.01)
    with pytest.raises(MarginfaceError, match=r"or calibrate it with far=0.2$"):
        kept.find_calibration((crops, plain), model(), far=0.2)
