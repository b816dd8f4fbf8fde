"""`marginface compare`: an answer about two photos, or why there is none."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import cli, printed, refusal
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector

import marginface as mf
from marginface.evaluation.calibration import thresholds
from marginface.model import THRESHOLDS_KEY
from marginface.onnx.metadata import write_with_metadata
from marginface.serving.sides import Limits
from marginface.serving.thresholds import Calibration, to_text

ONE, TWO = [(32, 4, 4)], [(32, 2, 2), (16, 12, 12)]  # stride, column, row of each face


def texture(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Return dim blocks, of which no pixel is bright enough to be a face."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-shape[0] // 8), -(-shape[1] // 8)
    return rng.integers(0, 60, (rows, columns, 3), np.uint8).repeat(8, 0).repeat(8, 1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, seed, faces in (("a", 0, ONE), ("again", 0, ONE), ("b", 1, ONE), ("two", 0, TWO)):
        photo = np.maximum(photo_with(288, 288, *faces), texture(seed, (288, 288)))
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    Image.new("RGB", (96, 96)).save(tmp_path / "none.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:99])
    save_model(tmp_path / "m.onnx")
    save_detector(tmp_path / "d.onnx")
    return tmp_path


def score(place: Path, other: str = "b.png") -> float:
    found = mf.compare(
        place / "a.png", place / other, model=place / "m.onnx", detector=place / "d.onnx"
    )
    assert found.score is not None
    return found.score


def calibrated(place: Path, middle: float, *, width: float = 0.001, both: bool = False) -> Path:
    """Write the model with a threshold at FAR 0.1 around `middle`; FAR 0.001 is not supported.

    For use without the mirror image; `both` adds FAR 0.2 for use with it, measured before.
    """
    model = mf.load(place / "m.onnx")
    scores = np.concatenate([np.ones(200), np.linspace(-1, 0, 200)])
    at, unsupported = thresholds(scores, np.arange(400) < 200, [0.1, 0.001])
    at = replace(at, value=middle, low=middle - width, high=middle + width)
    kept = Calibration(
        model.embedder.fingerprint, False, "crops", "list", 200, 200, (at, unsupported)
    )
    flipped = replace(kept, flip=True, thresholds=(replace(at, far=0.2),))
    text = to_text([flipped, kept] if both else [kept])
    write_with_metadata(place / "m.onnx", place / "c.onnx", {THRESHOLDS_KEY: text})
    return place / "c.onnx"


def arguments(place: Path, a: str, b: str, *more: object, model: str = "c.onnx") -> list[object]:
    given = ["--model", place / model, "--detector", place / "d.onnx"]
    return ["compare", place / a, place / b, *given, *more]


@pytest.mark.parametrize(
    ("off", "width", "answer", "status"),
    [(-0.01, 0.001, "same", 0), (0.01, 0.001, "not same", 1), (0.001, 0.01, "unsure", 3)],
)
def test_a_score_becomes_an_answer_and_a_status(place, off, width, answer, status):
    middle = score(place) + off
    calibrated(place, middle, width=width)
    done = cli(*arguments(place, "a.png", "b.png", "--far", "0.1", "--json"))
    assert done.status == status
    found = json.loads(done.stdout)
    assert (found["decision"], found["problems"], found["far"]) == (answer, [], 0.1)
    assert found["score"] == pytest.approx(score(place))
    assert found["threshold_interval"] == [middle - width, middle + width]
    assert "measured on the crops of list, not with this detector" in found["notes"][0]
    assert [side["faces"] for side in found["photos"]] == [1, 1]
    words = cli(*arguments(place, "a.png", "b.png", "--far", "0.1"))
    assert words.status == status
    assert words.stdout.startswith(f"{answer}: cosine ")
    shown, missed = words.stdout.splitlines()[1:3]
    assert shown == "expected errors: 10.00% (6.57 to 14.94) of different people pass as one,"
    assert missed == "and 0.00% (0.00 to 1.88) of the same are missed"
    assert found["flip"] is False
    low, high = found["true_accepts"][1:]
    assert missed.split("(")[1].startswith(f"{1 - high:.2f} to {100 * (1 - low):.2f})")
    assert max(map(len, words.stdout.splitlines())) <= 100
    assert "%" not in words.stdout.splitlines()[0]  # a cosine is no probability


def test_the_same_photo_is_the_same(place):
    assert score(place, "again.png") == pytest.approx(1)


@pytest.mark.parametrize(
    ("other", "more", "problem"),
    [
        ("none.png", (), "none.png: no face"),
        ("two.png", (), "two.png: 2 faces; say which with --face: largest, or its number"),
        ("b.png", ("--min-face", "999"), "b.png: the face is too small: its crop spans "),
        ("b.png", ("--max-blur", "0.01"), "the face is too blurred: 0."),
    ],
)
def test_without_a_usable_face_there_is_no_answer(place, other, more, problem):
    calibrated(place, 0.0)
    given = arguments(place, "a.png", other, "--far", "0.1", *more)
    done = cli(*given)
    assert done.status == 4
    assert problem in done.stdout
    told = cli(*given, "--json")
    assert (told.status, json.loads(told.stdout)["decision"]) == (4, None)
    assert any(problem in each for each in json.loads(told.stdout)["problems"])


def test_one_of_several_faces_is_named(place):
    model = calibrated(place, -0.9)
    both = [
        mf.compare(
            *(place / "a.png", place / "two.png"),
            model=model,
            detector=place / "d.onnx",
            far=0.1,
            face=(None, which),
        )
        for which in ("largest", 0, 1)
    ]
    assert all(each.decision is not None for each in both)
    assert both[0].score in (both[1].score, both[2].score)
    assert both[1].score != both[2].score
    for face, message in (("2", "two.png 0 to 1; got 2"), ("middle", "got 'middle'")):
        told = refusal(*arguments(place, "a.png", "two.png", "--face", f"largest,{face}"))
        assert "--face takes largest, or the number of a face" in told
        assert message in told


def test_without_a_rate_there_is_a_score_alone(place):
    text = printed(*arguments(place, "a.png", "b.png", model="m.onnx"))
    assert text.startswith("cosine ")
    assert "no decision without --far; marginface calibrate measures" in text


@pytest.mark.parametrize(
    ("b", "more", "model", "message"),
    [
        ("b.png", ("--far", "0.1"), "m.onnx", "the model has no thresholds; marginface calibrate"),
        ("b.png", ("--far", "0.2"), "c.onnx", "not calibrated for a false accept rate of 0.2, but"),
        ("b.png", ("--far", "0.001"), "c.onnx", "has 200 different pairs, too few to show a"),
        ("b.png", ("--far", "0.1", "--flip"), "c.onnx", "but for: crops, without --flip"),
        ("b.png", ("--far", "0.1", "--std", "99"), "c.onnx", "of another model or of another pre"),
        ("b.png", ("--far", "nan"), "c.onnx", "far must be above 0 and below 1, such as 1e-3, got"),
        ("b.png", ("--far", "-1"), "c.onnx", "far must be above 0 and below 1, such as 1e-3, got"),
        ("broken.png", ("--far", "0.1"), "c.onnx", "broken.png"),
        ("absent.png", ("--far", "0.1"), "c.onnx", "absent.png"),
        ("d.onnx", ("--far", "0.1"), "c.onnx", "d.onnx"),
    ],
)
def test_bad_input_is_one_line(place, b, more, model, message):
    calibrated(place, 0.0)
    assert message in refusal(*arguments(place, "a.png", b, *more, model=model))


def test_of_two_flips_the_last_is_taken_and_said(place):
    calibrated(place, -1.0, both=True)
    given = arguments(place, "a.png", "b.png")
    taken = json.loads(printed(*given, "--far", "0.1", "--json"))
    assert taken["flip"] is False
    assert "measured last are taken (--no-flip); --flip takes the others" in taken["notes"][0]
    told = refusal(*given, "--far", "0.2")
    assert told.endswith("or calibrate it with --far 0.2; with --flip it has that rate")
    other = json.loads(printed(*given, "--far", "0.2", "--flip", "--json"))
    assert (other["flip"], other["far"], len(other["notes"])) == (True, 0.2, 1)


def test_many_pairs_open_the_model_once(place):
    compare = mf.comparer(calibrated(place, 0.0), place / "d.onnx", far=0.1, limits=Limits(0, 1))
    photos = [np.asarray(Image.open(place / name)) for name in ("a.png", "b.png")]
    assert compare(*photos).score == pytest.approx(score(place))
    assert compare(photos[0], photos[0]).answer == "same"
    assert compare(photos[0], np.zeros((64, 64, 3), np.uint8)).problems == (
        "the second photo: no face",
    )


def test_a_picture_is_drawn_or_refused_before_the_work(place):
    given = arguments(place, "a.png", "b.png", model="m.onnx")
    printed(*given, "--picture", place / "new" / "p.png")
    assert Image.open(place / "new" / "p.png").format == "PNG"
    assert "exists already; pass --overwrite" in refusal(*given, "--picture", place / "new/p.png")
    assert "what the command reads" in refusal(*given, "--picture", place / "a.png", "--overwrite")
    assert "--picture must end in .png" in refusal(*given, "--picture", place / "p.jpg")


def test_a_reader_that_has_gone_leaves_the_status_the_answer(place):
    calibrated(place, -1.0)
    given = arguments(place, "a.png", "b.png", "--far", "0.1", "--json")
    for more in ([], given[-1:]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "marginface", *map(str, given[:-1]), *more]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--min-face", "nan"), ("--min-face", "-1"), ("--max-blur", "nan"), ("--max-blur", "2")],
)
def test_a_limit_is_a_number(place, option, value):
    told = refusal(*arguments(place, "a.png", "b.png", option, value, model="m.onnx"))
    assert f"{option[2:].replace('-', '_')} must be " in told


def test_a_photo_without_a_detector_is_told_how_to_go_on(place):
    told = refusal("compare", place / "a.png", place / "b.png", "--model", place / "m.onnx")
    assert "a.png: the image is 288x288 (height x width), expected 112x112; give --detector" in told


def test_json_stands_alone_on_standard_output(place):
    """With names of any letters; what else there is goes to standard error."""
    odd = place / "имя\x1b[31m 名.png"
    odd.write_bytes((place / "b.png").read_bytes())
    calibrated(place, -1.0)
    done = cli(*arguments(place, "a.png", odd.name, "--far", "0.1", "--json"))
    assert json.loads(done.stdout)["photos"][1]["photo"] == str(odd)
    assert "\x1b" not in done.stdout
    assert not done.stderr


def test_an_unforeseen_error_is_no_answer(place, monkeypatch):
    monkeypatch.setattr("marginface.serving.comparing.pair_scores", lambda *_: {}[0])
    done = cli(*arguments(place, "a.png", "b.png", model="m.onnx"))
    assert (done.status, done.stdout) == (70, "")
    assert done.stderr.startswith("Traceback")
