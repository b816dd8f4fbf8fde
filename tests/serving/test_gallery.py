"""A gallery asked face by face: candidates, decisions, faces added later."""

import numpy as np
import pytest

from marginface.errors import MarginfaceError
from marginface.evaluation.calibration import Threshold
from marginface.evaluation.identification import search
from marginface.serving.faces import NO_CROP, Face
from marginface.serving.gallery import FOUND, NOBODY, UNSURE, Gallery
from marginface.serving.recogniser import NOTHING, UNKNOWN
from marginface.serving.thresholds import Calibration

RATE = (0.1, 0.05, 0.2)


def face(photo: str, embedding: object, problem: str = "") -> Face:
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    values = np.asarray(embedding, np.float32)
    return Face(photo, box, points, 1.0, UNKNOWN, NO_CROP, values, problem)


def calibration() -> Calibration:
    at = Threshold(0.1, 0.6, 0.5, 0.7, True, RATE, RATE)
    unsupported = Threshold(0.01, 0.8, 0.7, 1.0, False, RATE, RATE)
    return Calibration("a" * 64, False, "crops", "pairs.txt", 100, 100, (at, unsupported))


def at(cosine: float) -> list[float]:
    return [cosine, float(np.sqrt(1 - cosine**2))]


def test_decisions_follow_the_threshold_and_its_interval() -> None:
    gallery = Gallery(calibration(), 0.1)
    gallery.enrol("ann", face("ann/1.jpg", [2, 0]))
    probes = [face(str(cosine), at(cosine)) for cosine in (0.9, 0.71, 0.6, 0.51, 0.49, -0.5)]
    answers = gallery.search(probes)
    decisions = [answer.decision for answer in answers]
    assert decisions == [FOUND, FOUND, UNSURE, UNSURE, NOBODY, NOBODY]
    assert [answer.name for answer in answers] == ["ann", "ann", None, None, None, None]
    assert [answer.candidates[0].score for answer in answers] == pytest.approx(
        [0.9, 0.71, 0.6, 0.51, 0.49, -0.5]
    )
    for answer, probe in zip(answers, probes, strict=True):
        assert answer.face.photo == probe.photo
        assert not len(answer.face.embedding)
    assert gallery.false_alarms() == pytest.approx(0.1)
    gallery.enrol("bo", face("bo/1.jpg", [0, 1]), face("bo/2.jpg", [0, 2]))
    assert gallery.false_alarms() == pytest.approx(1 - 0.9**3)


def test_without_a_calibration_there_are_scores_alone() -> None:
    gallery = Gallery()
    gallery.enrol("ann", face("1.jpg", [1, 0]))
    (answer,) = gallery.search([face("2.jpg", [1, 0])])
    assert (answer.decision, answer.name, answer.candidates[0].score) == ("", None, 1.0)
    assert gallery.false_alarms() is None


@pytest.mark.parametrize("seed", range(3))
def test_people_are_those_that_the_measured_search_names(seed: int) -> None:
    """Also where one person has so many faces that they fill all the first places."""
    rng = np.random.default_rng(seed)
    counts = [60, 1, 1, 2, 30, 1]
    names = [f"p{person}" for person, count in enumerate(counts) for _ in range(count)]
    values = rng.normal(size=(len(names), 8)).astype(np.float32)
    values[:60] = values[0] + 0.01 * rng.normal(size=(60, 8))
    probes = np.concatenate([values[:5] + 0.1, rng.normal(size=(40, 8))]).astype(np.float32)
    gallery = Gallery()
    for number in rng.permutation(len(names)):
        gallery.enrol(names[number], face(str(number), values[number]))
    expected = search(values, names, probes, ["nobody"] * len(probes), top=4)
    answers = gallery.search([face("x", probe) for probe in probes], top=4)
    for answer, best, score in zip(answers, expected.best, expected.best_score, strict=True):
        assert [each.name for each in answer.candidates] == expected.names[best].tolist()
        assert [each.score for each in answer.candidates] == pytest.approx(score, abs=1e-6)
        nearest = int(answer.candidates[0].face.photo)
        assert names[nearest] == answer.candidates[0].name
    assert len(gallery.search([face("x", probes[0])], top=99)[0].candidates) == len(counts)


def test_faces_can_be_added_between_searches() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 8)).astype(np.float32)
    grown, whole = Gallery(), Gallery()
    for number, value in enumerate(values):
        whole.enrol(str(number), face(str(number), value))
        grown.enrol(str(number), face(str(number), value))
        if number % 10 == 0:
            grown.search([face("x", values[0])])
    assert len(grown) == 50
    for a, b in zip(
        *(each.search([face("x", v) for v in values]) for each in (grown, whole)), strict=True
    ):
        assert [c.name for c in a.candidates] == [c.name for c in b.candidates]
        assert [c.score for c in a.candidates] == pytest.approx(
            [c.score for c in b.candidates], abs=1e-6
        )


def test_what_cannot_be_compared() -> None:
    gallery = Gallery()
    with pytest.raises(MarginfaceError, match="nobody is enrolled"):
        gallery.search([face("1.jpg", [1, 0])])
    small = face("small.jpg", NOTHING, "face too small")
    with pytest.raises(MarginfaceError, match=r"small\.jpg cannot be enrolled: face too small"):
        gallery.enrol("ann", face("1.jpg", [1, 0]), small)
    assert len(gallery) == 0
    gallery.enrol("ann", face("1.jpg", [1, 0]))
    (unusable,) = gallery.search([small])
    assert (unusable.candidates, unusable.decision) == ((), "")
    with pytest.raises(MarginfaceError, match="one model must have made both"):
        gallery.search([face("3.jpg", [1, 0, 0])])
    gallery.enrol("bo", face("2.jpg", [1, 0, 0]))
    with pytest.raises(MarginfaceError, match="2 and 3 numbers"):
        gallery.search([face("3.jpg", [1, 0])])
    for far, told in ((0.3, "is not calibrated"), (0.01, "too few to show"), (None, "give both")):
        with pytest.raises(MarginfaceError, match=told):
            Gallery(calibration(), far)
