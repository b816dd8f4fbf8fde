"""What people give a recogniser, a gallery or a comparison by mistake ends in one line, too."""

import inspect
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.serving.comparing import Comparer
from marginface.serving.gallery import Gallery
from marginface.serving.sides import Limits
from marginface.serving.thresholds import read_calibrations

PHOTO = photo_with(192, 224, (32, 4, 3))
# Of arguments that any text, list or path would do for, the function itself says what is wrong.
WRONG = (-1, 2.5, float("nan"), "wrong", None, [], {}, object(), np.zeros(3), lambda _: 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    save_model(folder / "m.onnx")
    save_detector(folder / "d.onnx")
    (folder / "people" / "ann").mkdir(parents=True)
    (folder / "inbox").mkdir()
    Image.fromarray(PHOTO).save(folder / "people" / "ann" / "1.png")
    Image.fromarray(np.roll(PHOTO, 8, 1)).save(folder / "inbox" / "2.png")
    return folder


@pytest.fixture(scope="module")
def known(place: Path) -> SimpleNamespace:
    """A recogniser, a face of it, and what makes and asks of each kind what it is for."""
    recogniser = mf.Recogniser(place / "m.onnx", place / "d.onnx")
    (face,) = next(recogniser(PHOTO))
    gallery = Gallery()
    gallery.enrol("ann", face)
    made = {"model": place / "m.onnx", "detector": place / "d.onnx"}
    folders = {"gallery": place / "people", "probes": place / "inbox"}
    uses = {
        "Recogniser": (mf.Recogniser, lambda **given: list(mf.Recogniser(**given)(PHOTO)), made),
        "comparer": (mf.comparer, mf.comparer, made),
        "compare": (mf.compare, mf.compare, {"first": PHOTO, "second": PHOTO, **made}),
        "identify": (mf.identify, mf.identify, {**folders, **made}),
        "Comparer": (Comparer, Comparer, {"recogniser": recogniser}),
        "a Comparer": (Comparer.__call__, Comparer(recogniser), {"first": PHOTO, "second": PHOTO}),
        "Limits": (Limits, Limits, {}),
        "Gallery": (Gallery, Gallery, {}),
        "search": (Gallery.search, gallery.search, {"faces": [face]}),
    }
    return SimpleNamespace(recogniser=recogniser, face=face, uses=uses)


USES = [
    *("Recogniser", "comparer", "compare", "identify", "Comparer", "a Comparer", "Limits"),
    *("Gallery", "search"),
]


@pytest.mark.parametrize("use", USES)
def test_a_wrong_argument_is_taken_or_named(known, use, tmp_path, monkeypatch):
    """Nothing else is raised, and no option is named as it is typed."""
    monkeypatch.chdir(tmp_path)
    described, call, given = known.uses[use]
    told: dict[str, list[str]] = {}
    for name in inspect.signature(described).parameters.keys() - {"self"}:
        told[name] = []
        for wrong in WRONG:
            try:
                call(**given | {name: wrong})
            except mf.MarginfaceError as error:
                told[name].append(str(error))
    assert min(map(len, told.values())) >= 4, told
    for line in chain(*told.values()):
        assert "--" not in line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("use", "given", "message"),
    [
        ("Recogniser", {"min_face": "x"}, "min_face must be a number, got 'x'"),
        ("Recogniser", {"min_face": -1}, "min_face must be at least 0 and finite, got -1"),
        ("Recogniser", {"min_score": 2}, "min_score must be between 0 and 1, got 2"),
        ("Recogniser", {"flip": "yes"}, "flip must be True or False, got 'yes'"),
        ("Recogniser", {"turns": 1}, "turns must be True or False, got 1"),
        ("Recogniser", {"threads": True}, "threads must be at least 1, a whole number, got True"),
        ("Recogniser", {"detector": None}, r"images are 192x224 .*; give detector, without .*"),
        (
            "Recogniser",
            {"detector": None, "min_face": 9},
            "min_face goes with detector, .*; give one, or leave out min_face",
        ),
        ("Comparer", {"limits": 3}, "limits must be Limits, got int"),
        (
            "Comparer",
            {"far": 0.1},
            "photos are compared by a calibration at a far; give both or none",
        ),
        ("a Comparer", {"face": (0, 1, 2)}, r"face takes largest, or .*; got \(0, 1, 2\)"),
        ("a Comparer", {"face": True}, "face takes largest, .*; got True"),
        ("Gallery", {"calibration": "c.onnx"}, "calibration must be Calibration, got str"),
        ("search", {"faces": 3}, "faces must be a Face, got a int; give what a Recogniser .*"),
        ("search", {"top": 0}, "top must be at least 1, a whole number, got 0"),
    ],
)
def test_the_argument_is_named(known, use, given, message):
    _, call, usual = known.uses[use]
    with pytest.raises(mf.MarginfaceError, match=f"^{message}$"):
        call(**usual | given)


def test_only_faces_with_a_name_are_enrolled(known):
    for given, message in (
        ((3, known.face), "name must be a str, got a int"),
        (("ann", "1.jpg"), "faces must be Face, got str"),
        (("ann", known.face, [known.face]), "faces must be Face, got list"),
    ):
        with pytest.raises(mf.MarginfaceError, match=f"^{message}"):
            Gallery().enrol(*given)


def test_words_name_arguments_too(known, place):
    two = np.maximum(PHOTO, photo_with(192, 224, (16, 2, 2)))
    found = mf.compare(PHOTO, two, model=place / "m.onnx", detector=place / "d.onnx")
    assert found.problems == (
        "the second photo: 2 faces; say which with face: largest, or its number",
    )
    small = Comparer(known.recogniser, limits=Limits(999))(PHOTO, PHOTO)
    assert small.problems[0].endswith("expected 999 (min_face)")
    assert "no decision without far" in repr(Comparer(known.recogniser)(PHOTO, PHOTO))
    notes = mf.identify(
        place / "people", place / "inbox", model=place / "m.onnx", detector=place / "d.onnx"
    ).notes
    assert notes[0].endswith("and far 1e-2 decides by them")


def test_calls_that_python_refuses_stay_as_they_are():
    with pytest.raises(TypeError, match="unexpected keyword argument 'flips'"):
        mf.Recogniser("m.onnx", flips=True)
    with pytest.raises(mf.MarginfaceError, match=r"^model must be a path, got 3$"):
        read_calibrations(3)
