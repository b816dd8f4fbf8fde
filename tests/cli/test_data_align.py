"""`marginface data align` as a user types it."""

from __future__ import annotations

import csv
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from real_faces import FACES, needs_faces
from tiny_scrfd import POINTS, photo_with, save_detector

from marginface import MarginfaceError
from marginface.data.photos import photos as photos_module
from marginface.data.photos.alignment import fit_similarity, template, warp
from marginface.data.photos.landmarks import POINT_COLUMNS, read_landmarks
from marginface.outputs import SIGNATURE


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "alignment.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != SIGNATURE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def detector(tmp_path) -> Path:
    return save_detector(tmp_path / "tiny.onnx")


@pytest.fixture
def photos(tmp_path) -> Path:
    """Photos of a face, of two, of none, of one that is cut off, and a file that is no photo."""
    root = tmp_path / "photos"
    (root / "ann").mkdir(parents=True)
    (root / "bob").mkdir()
    pictures = {
        "ann/one.png": photo_with(200, 160, (16, 4, 6)),
        "ann/two.png": photo_with(240, 240, (8, 14, 15), (32, 2, 2)),
        "bob/none.png": photo_with(100, 100),
        "bob/edge.png": photo_with(96, 96, (32, 0, 0)),
        "small.png": photo_with(64, 64, (8, 4, 4)),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(root / name)
    (root / "bob" / "broken.jpg").write_bytes(b"no image")
    return root


def test_crops_and_the_table(cli, photos, detector, tmp_path):
    before = files(photos)
    out = tmp_path / "out"
    result = cli(
        "data", "align", photos, out, "--detector", detector, "--batch-size", 2, "--format", "png"
    )
    assert result.status == 0, result.stderr
    assert f"aligned 3 of 6 photos to {out}" in result.stdout
    for reason in ("unreadable", "no face", "face cut off"):
        assert f"skipped 1: {reason}" in result.stdout
    rows = table(out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "ann/one.png": "aligned",
        "ann/two.png": "aligned",
        "bob/broken.jpg": "unreadable",
        "bob/edge.png": "face cut off",
        "bob/none.png": "no face",
        "small.png": "aligned",
    }
    assert "not an image in a known format" in rows["bob/broken.jpg"]["detail"]
    assert rows["bob/none.png"]["x1"] == rows["bob/none.png"]["score"] == ""
    assert [rows[name]["faces"] for name in ("ann/two.png", "bob/none.png")] == ["2", "0"]
    points = [float(rows["ann/one.png"][column]) for column in POINT_COLUMNS]
    np.testing.assert_allclose(np.reshape(points, (5, 2)), POINTS * 16 + [64, 96], atol=1e-3)
    assert set(files(out)) == {"alignment.csv", "ann/one.png", "ann/two.png", "small.png"}
    photo = np.array(Image.open(photos / "ann" / "one.png"))
    similarity = fit_similarity(POINTS * 16 + [64, 96], template())
    expected = warp(photo, similarity, (112, 112))
    np.testing.assert_array_equal(np.array(Image.open(out / "ann" / "one.png")), expected)
    assert files(photos) == before
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(("which", "at"), [("largest", (64, 64)), ("central", (112, 120))])
def test_which_face(cli, photos, detector, tmp_path, which, at):
    cli("data", "align", photos, tmp_path / "out", "--detector", detector, "--face", which)
    row = table(tmp_path / "out")["ann/two.png"]
    nose = float(row["x3"]), float(row["y3"])
    stride = 32 if which == "largest" else 8
    np.testing.assert_allclose(nose, (at[0], at[1] + 0.1 * stride), atol=1e-3)


def test_size_format_and_quality(cli, photos, detector, tmp_path):
    sizes = {}
    for quality in (50, 95):
        out = tmp_path / f"q{quality}"
        options = ("--size", "112x96", "--quality", quality)
        assert cli("data", "align", photos, out, "--detector", detector, *options).status == 0
        with Image.open(out / "ann" / "one.jpg") as crop:
            assert (crop.format, crop.size) == ("JPEG", (96, 112))
        sizes[quality] = (out / "ann" / "one.jpg").stat().st_size
    assert sizes[50] < sizes[95]


def test_small_faces_can_be_skipped(cli, photos, detector, tmp_path):
    cli("data", "align", photos, tmp_path / "out", "--detector", detector, "--min-face", 60)
    status = {name: row["status"] for name, row in table(tmp_path / "out").items()}
    assert status["small.png"] == "face too small"
    assert status["ann/one.png"] == "aligned"


def test_a_turned_photo_is_taken_upright(cli, photos, detector, tmp_path):
    pixels = np.array(Image.open(photos / "ann" / "one.png"))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(np.rot90(pixels).copy()).save(photos / "ann" / "turned.png", exif=exif)
    cli("data", "align", photos, tmp_path / "out", "--detector", detector, "--format", "png")
    crops = files(tmp_path / "out")
    assert crops["ann/turned.png"] == crops["ann/one.png"]


def test_the_table_serves_as_landmarks(cli, photos, detector, tmp_path):
    cli("data", "align", photos, tmp_path / "first", "--detector", detector, "--format", "png")
    given_points = ("--landmarks", tmp_path / "first" / "alignment.csv")
    result = cli("data", "align", photos, tmp_path / "second", *given_points, "--format", "png")
    assert result.status == 0, result.stderr
    rows = table(tmp_path / "second")
    assert rows["bob/none.png"]["status"] == "no landmarks"
    assert rows["ann/one.png"]["score"] == table(tmp_path / "first")["ann/one.png"]["score"]
    first, second = (np.array(Image.open(tmp_path / n / "small.png")) for n in ("first", "second"))
    assert np.abs(first.astype(int) - second).max() <= 2


def points_of(stride, x, y):
    return (POINTS * stride + [x, y]).tolist()


def test_landmarks_as_json(cli, photos, tmp_path):
    mirrored = (POINTS * [-16, 16] + [64, 96]).tolist()
    marks = {
        "ann/one.png": [0.75, points_of(16, 64, 96)],
        "./ann/two.png": [1, mirrored],
        "bob/gone.png": [1, points_of(16, 64, 96)],
        "bob/edge.png": [1, points_of(4000, 30, 30)],
        "bob/none.png": [1, [[5, 5]] * 5],
    }
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(marks))
    result = cli("data", "align", photos, tmp_path / "out", "--landmarks", path)
    assert result.status == 0, result.stderr
    rows = table(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        "ann/one.png": "aligned",
        "ann/two.png": "points form no face",
        "bob/broken.jpg": "unreadable",
        "bob/edge.png": "face cut off",
        "bob/gone.png": "no photo",
        "bob/none.png": "points form no face",
        "small.png": "no landmarks",
    }
    assert rows["ann/one.png"]["score"] == "0.7500"


def test_points_on_a_line_form_no_face(cli, photos, tmp_path):
    line = (POINTS[:, 1:] * [16, 16] + [64, 96]).tolist()  # fits the template by 0.5
    path = tmp_path / "marks.json"
    path.write_text(
        json.dumps({"ann/one.png": [1, line], "ann/two.png": [1, points_of(8, 64, 64)]})
    )
    assert cli("data", "align", photos, tmp_path / "out", "--landmarks", path).status == 0
    rows = table(tmp_path / "out")
    assert rows["ann/one.png"]["status"] == "points form no face"
    assert rows["ann/two.png"]["status"] == "aligned"


def test_a_link_to_nothing_is_one_unreadable_photo(cli, photos, detector, tmp_path):
    (photos / "ann" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert cli("data", "align", photos, tmp_path / "out", "--detector", detector).status == 0
    row = table(tmp_path / "out")["ann/gone.jpg"]
    assert row["status"] == "unreadable"
    assert "No such file" in row["detail"]


def test_landmarks_as_csv_with_and_without_names_of_columns(tmp_path):
    line = ",".join(map(str, np.ravel(points_of(16, 64, 96))))
    with_names, without = tmp_path / "a.csv", tmp_path / "b.csv"
    without.write_text(f"ann/one.png,{line}\n\n")
    with_names.write_text(f"score,path,{','.join(POINT_COLUMNS)}\n0.5,ann/one.png,{line}\n")
    for path, score in ((with_names, 0.5), (without, np.nan)):
        (found,) = read_landmarks(path).items()
        assert found[0] == "ann/one.png"
        np.testing.assert_array_equal(found[1].scores, [score])
        np.testing.assert_allclose(found[1].points[0], points_of(16, 64, 96))


def test_landmarks_are_known_by_what_they_hold(tmp_path):
    points = ",".join(map(str, np.ravel(FIVE)))
    texts = {
        json.dumps({"a.png": [1, FIVE]}): ("a.csv", "a.txt", "landmarks"),
        f"path,{','.join(POINT_COLUMNS)}\na.png,{points}\n": ("b.json", "b.txt", "csv"),
    }
    for text, names in texts.items():
        for name in names:
            (tmp_path / name).write_text(text)
            assert list(read_landmarks(tmp_path / name)) == ["a.png"]


FIVE = [[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]]
BAD_JSON = {
    "not json": "{",
    "a list": "[]",
    "empty": "{}",
    "deep": "[" * 100_000,
    "four points": json.dumps({"a.png": [1, FIVE[:4]]}),
    "no score": json.dumps({"a.png": FIVE}),
    "long number": '{"a.png": [1, [[' + "9" * 5000 + ", 2]]]}",
    "text": json.dumps({"a.png": [1, [["x", 2], *FIVE[1:]]]}),
    "NaN": '{"a.png": [1, [[NaN, 2], [3, 2], [2, 3], [1, 4], [3, 4]]]}',
    "huge": json.dumps({"a.png": [1, [[1e300, 2], *FIVE[1:]]]}),
    "twice": '{"a.png": [1, []], "a.png": [1, []]}',
    "twice by a detour": json.dumps({"a.png": [1, FIVE], "./a.png": [1, FIVE]}),
    "climbs": json.dumps({"../a.png": [1, FIVE]}),
    "climbs later": json.dumps({"b/../../a.png": [1, FIVE]}),
    "absolute": json.dumps({"/a.png": [1, FIVE]}),
    "no name": json.dumps({"": [1, FIVE]}),
}
BAD_CSV = {
    "empty": "",
    "header only": f"path,{','.join(POINT_COLUMNS)}\n",
    "no y5": f"path,{','.join(POINT_COLUMNS[:-1])}\na.png,1,2,3,2,2,3,1,4,3\n",
    "two x1": f"path,x1,{','.join(POINT_COLUMNS)}\na.png,9,1,2,3,2,2,3,1,4,3,4\n",
    "short": "a.png,1,2,3\n",
    "long": "a.png,1,2,3,2,2,3,1,4,3,4,5,6\n",
    "score is text": "a.png 1 2 3 2 2 3 1 4 3 4 sure\n",
    "later a score": "a.png 1 2 3 2 2 3 1 4 3 4\nb.png 1 2 3 2 2 3 1 4 3 4 0.9\n",
    "text": "a.png,1,2,x,2,2,3,1,4,3,4\n",
    "one is missing": "a.png,1,2,,2,2,3,1,4,3,4\n",
    "infinite": "a.png,1,2,inf,2,2,3,1,4,3,4\n",
    "twice": "a.png,1,2,3,2,2,3,1,4,3,4\n" * 2,
    "climbs": "../a.png,1,2,3,2,2,3,1,4,3,4\n",
}


@pytest.mark.parametrize(
    ("name", "text"),
    [(f"{kind}.json", text) for kind, text in BAD_JSON.items()]
    + [(f"{kind}.csv", text) for kind, text in BAD_CSV.items()]
    + [("marks.txt", "a.png")],
)
def test_bad_landmarks_are_refused_in_one_line(refusal, photos, tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert str(path) in refusal("data", "align", photos, tmp_path / "out", "--landmarks", path)
    assert not (tmp_path / "out").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from([".json", ".csv"]))
def test_any_bytes_are_landmarks_or_a_clear_error(tmp_path, content, suffix):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    with suppress(MarginfaceError):
        found = read_landmarks(path)
        assert all(np.isfinite(faces.points).all() for faces in found.values())


def test_options_that_do_not_go_together(refusal, photos, detector, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks.csv"
    marks.write_text("ann/one.png,1,2,3,2,2,3,1,4,3,4\n")
    assert "give either" in refusal("data", "align", photos, out)
    assert "give either" in refusal(
        "data", "align", photos, out, "--detector", detector, "--landmarks", marks
    )
    for option, value in (("--face", "central"), ("--min-score", 0.3)):
        assert option in refusal("data", "align", photos, out, "--landmarks", marks, option, value)
    detect = (photos, out, "--detector", detector)
    assert "--quality" in refusal("data", "align", *detect, "--format", "png", "--quality", 90)
    assert "quality must be 1 to 100, got 0" in refusal("data", "align", *detect, "--quality", 0)
    assert "did you mean 'jpg'" in refusal("data", "align", *detect, "--format", "jpeg")
    assert "did you mean 'largest'" in refusal("data", "align", *detect, "--face", "large")
    assert "--size takes height x width" in refusal("data", "align", *detect, "--size", "112")
    assert "size must be 16 to 4096" in refusal("data", "align", *detect, "--size", "112x0")
    assert "between 0 and 1" in refusal("data", "align", *detect, "--min-score", 2)
    assert not out.exists()


def test_folders_that_do_not_fit(refusal, photos, detector, tmp_path):
    detect = ("--detector", detector)
    assert "what the command reads" in refusal("data", "align", photos, photos, *detect)
    assert "among the photos" in refusal("data", "align", photos, photos / "crops", *detect)
    assert "crops needs a folder, but" in refusal(
        "data", "align", photos, detector / "crops", *detect
    )
    assert "no such folder" in refusal(
        "data", "align", tmp_path / "absent", tmp_path / "out", *detect
    )
    (tmp_path / "void").mkdir()
    assert "no images under" in refusal(
        "data", "align", tmp_path / "void", tmp_path / "out", *detect
    )
    Image.new("RGB", (9, 9)).save(photos / "ann" / "one.bmp")
    assert "rename one of them" in refusal("data", "align", photos, tmp_path / "out", *detect)
    assert not list(tmp_path.glob("out*"))


def test_none_aligned_leaves_nothing(refusal, photos, tmp_path, detector):
    message = refusal(
        "data", "align", photos, tmp_path / "out", "--detector", detector, "--min-face", 2000
    )
    assert "none of the 6 photos" in message
    assert "4 face too small" in message
    assert not list(tmp_path.glob("out*"))


@pytest.fixture
def interrupted(cli, photos, detector, tmp_path, monkeypatch):
    """Leave a run at its second of three batches; return its arguments."""
    arguments = (photos, tmp_path / "out", "--detector", detector, "--batch-size", 2)
    cropped = []

    def stop_later(name, *others):
        cropped.append(name)
        if len(cropped) > 2:
            raise KeyboardInterrupt
        return crop_face(name, *others)

    crop_face = photos_module.crop_face
    with monkeypatch.context() as patch:
        patch.setattr(photos_module, "crop_face", stop_later)
        assert cli("data", "align", *arguments).status != 0
    assert not (tmp_path / "out").exists()
    return arguments


def count_crops(monkeypatch) -> list[str]:
    cropped: list[str] = []
    crop_face = photos_module.crop_face

    def counted(name, *others):
        cropped.append(name)
        return crop_face(name, *others)

    monkeypatch.setattr(photos_module, "crop_face", counted)
    return cropped


# What a kill may leave of the next row.
@pytest.mark.parametrize(
    "tail",
    ["", "bob/bro", "bob/broken.jpg,no\n", 'bob/broken.jpg,"\n', f"bob/broken.jpg,no{',' * 14}"],
)
def test_an_interrupted_run_goes_on(cli, interrupted, tmp_path, monkeypatch, tail):
    photos, out, *options = interrupted
    with (tmp_path / "out.partial" / "alignment.csv").open("a") as file:
        file.write(tail)
    cropped = count_crops(monkeypatch)
    assert cli("data", "align", *interrupted).status == 0
    assert "ann/one.png" not in cropped
    assert "small.png" in cropped
    assert cli("data", "align", photos, tmp_path / "whole", *options).status == 0
    assert files(out) == files(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_rows_without_a_turn_are_done_again(cli, interrupted, tmp_path, monkeypatch):
    """An earlier version's table has none; its crops are made anew."""
    photos, out, *options = interrupted
    path = tmp_path / "out.partial" / "alignment.csv"
    at = photos_module.COLUMNS.index("turn")
    with path.open(newline="") as file:
        rows = [row[:at] + row[at + 1 :] for row in csv.reader(file)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    cropped = count_crops(monkeypatch)
    assert cli("data", "align", *interrupted).status == 0
    assert "ann/one.png" in cropped
    assert cli("data", "align", photos, tmp_path / "whole", *options).status == 0
    assert files(out) == files(tmp_path / "whole")


def test_another_run_is_not_mixed_into_an_interrupted_one(refusal, interrupted, tmp_path):
    assert "differs in its size" in refusal("data", "align", *interrupted, "--size", "112x96")
    os.utime(interrupted[0] / "small.png", (1, 1))
    assert "differs in its photos" in refusal("data", "align", *interrupted)
    path = tmp_path / "out.partial" / "manifest.json"
    former = {key: value for key, value in json.loads(path.read_text()).items() if key != "version"}
    path.write_text(json.dumps(former))
    assert "of another version of marginface; remove it" in refusal("data", "align", *interrupted)
    path.write_text("[]")
    assert "remove" in refusal("data", "align", *interrupted)


def test_a_detector_whose_external_data_changed_is_another_one(
    cli, refusal, photos, tmp_path, monkeypatch
):
    model = onnx.load(save_detector(tmp_path / "whole.onnx"))
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 64}
    onnx.save(model, tmp_path / "tiny.onnx", **beside)
    detect = ("--detector", tmp_path / "tiny.onnx", "--batch-size", 2)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(photos_module, "crop_face", stop)
        assert cli("data", "align", photos, tmp_path / "out", *detect).status != 0
    content = bytearray((tmp_path / "w.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "w.bin").write_bytes(content)
    assert "differs in its faces" in refusal("data", "align", photos, tmp_path / "out", *detect)
    content[0] ^= 1
    (tmp_path / "w.bin").write_bytes(content)
    whole = ("--detector", tmp_path / "whole.onnx")  # the same, in one file
    assert cli("data", "align", photos, tmp_path / "out", *whole).status == 0


def test_one_crop_cannot_be_written(refusal, photos, detector, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = refusal("data", "align", photos, tmp_path / "out", "--detector", detector)
    assert "No space left on device" in said
    assert not (tmp_path / "out").exists()


@needs_faces
def test_photos_with_the_given_landmarks_and_with_a_detector(cli, tmp_path):
    root = FACES / "photos"
    model = FACES / "weights" / "scrfd_2.5g_bnkps.onnx"
    for name, option in (
        ("given", ("--landmarks", root / "landmarks.json")),
        ("detected", ("--detector", model)),
    ):
        result = cli("data", "align", root, tmp_path / name, *option)
        assert "aligned 24 of 24 photos" in result.stdout
    rows = [table(tmp_path / name) for name in ("given", "detected")]
    assert [each.pop("landmarks.json")["status"] for each in rows] == ["no image"] * 2
    points = [
        [[float(row[column]) for column in POINT_COLUMNS] for row in each.values()] for each in rows
    ]
    distances = np.linalg.norm(np.subtract(*points).reshape(-1, 2), axis=1)
    assert np.median(distances) <= 2
