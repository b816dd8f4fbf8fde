"""IJB from its own files, in three commands: crops, embeddings, figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_faces import FACES, needs_faces
from tiny_model import save_model

from marginface.data.photos.alignment import fit_similarity, template, warp
from marginface.data.photos.landmarks import read_landmarks

PEOPLE, IMAGES = 4, 3
FACE = np.array([[40, 50], [80, 50], [60, 75], [45, 100], [75, 100]], float)


def points(at: np.ndarray) -> str:
    return " ".join(f"{number:.3f}" for number in at.ravel())


@pytest.fixture
def ijb(tmp_path) -> Path:
    """Loose crops of four people, three of each; one in profile, one mirrored, one at the edge."""
    rng = np.random.default_rng(0)
    meta, crops = tmp_path / "meta", tmp_path / "loose_crop"
    meta.mkdir()
    crops.mkdir()
    lines, media = [], []
    for person in range(PEOPLE):
        drawn = rng.integers(0, 256, (16, 14, 3), np.uint8)
        for image in range(IMAGES):
            number = person * IMAGES + image + 1
            at = FACE + rng.normal(size=FACE.shape)
            at = {4: FACE * [0.05, 1] + [60, 0], 5: FACE * [-1, 1] + [120, 0], 6: at - 90}.get(
                number, at
            )
            noisy = Image.fromarray(drawn).resize((120, 140))
            noisy.save(crops / f"{number}.jpg")
            lines.append(f"{number}.jpg {points(at)} {0.5 + number / 100}")
            media.append(f"{number}.jpg {2 * person + (image > 0)} {10 * person + image}")
    (meta / "ijbc_name_5pts_score.txt").write_text("\n".join(lines) + "\n")
    (meta / "ijbc_face_tid_mid.txt").write_text("\n".join(media) + "\n")
    ids = range(2 * PEOPLE)
    pairs = [f"{a} {b} {int(a // 2 == b // 2)}" for a in ids for b in ids if a < b]
    (meta / "ijbc_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
    return tmp_path


def test_three_commands_from_ijbs_files_to_figures(cli, ijb, tmp_path):
    model, meta = save_model(tmp_path / "model.onnx"), ijb / "meta"
    listed = meta / "ijbc_name_5pts_score.txt"
    aligned = tmp_path / "aligned"
    result = cli("data", "align", ijb / "loose_crop", aligned, "--landmarks", listed, "--all")
    assert result.status == 0, result.stderr
    assert "aligned 12 of 12 photos" in result.stdout
    store = tmp_path / "ijbc.parquet"
    result = cli("embed", "--model", model, "--images", aligned, "--flip", "--output", store)
    assert result.status == 0, result.stderr
    result = cli(
        *("templates", "--embeddings", store, "--media", meta / "ijbc_face_tid_mid.txt"),
        *("--scores", listed, "--pairs", meta / "ijbc_template_pair_label.txt"),
        *("--output", tmp_path / "report"),
    )
    assert result.status == 0, result.stderr
    assert "12 images make 8 templates" in result.stdout
    assert "4 same and 24 different pairs" in result.stdout
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (figures["images"], figures["templates"]) == (12, 8)
    assert figures["tar_at_far"]["1e-1"] >= 0.5  # one person's images are the same drawing


def test_images_without_a_crop_are_named_with_the_way_to_have_them(cli, refusal, ijb, tmp_path):
    meta, store = ijb / "meta", tmp_path / "ijbc.parquet"
    listed = ("--landmarks", meta / "ijbc_name_5pts_score.txt")
    assert cli("data", "align", ijb / "loose_crop", tmp_path / "aligned", *listed).status == 0
    model = save_model(tmp_path / "model.onnx")
    cli("embed", "--model", model, "--images", tmp_path / "aligned", "--output", store)
    message = refusal(
        *("templates", "--embeddings", store, "--media", meta / "ijbc_face_tid_mid.txt"),
        *("--pairs", meta / "ijbc_template_pair_label.txt"),
    )
    assert "3 of 12 images" in message
    assert "first 4.jpg" in message
    assert "data align --all" in message


def test_a_crop_is_where_the_list_has_its_points(cli, ijb, tmp_path):
    listed, aligned = ijb / "meta" / "ijbc_name_5pts_score.txt", tmp_path / "aligned"
    options = ("--landmarks", listed, "--format", "png")
    result = cli("data", "align", ijb / "loose_crop", aligned, *options)
    assert result.status == 0, result.stderr
    with (aligned / "alignment.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    others = {name: row["status"] for name, row in rows.items() if row["status"] != "aligned"}
    assert others == {
        "4.jpg": "points form no face",
        "5.jpg": "points form no face",
        "6.jpg": "face cut off",
    }
    assert rows["7.jpg"]["score"] == "0.5700"
    found = read_landmarks(listed)["7.jpg"].points[0]
    photo = np.array(Image.open(ijb / "loose_crop" / "7.jpg"))
    expected = warp(photo, fit_similarity(found, template((112, 112))), (112, 112))
    assert np.array_equal(np.array(Image.open(aligned / "7.png")), expected)


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        ("13.jpg 1 2 3", "13.jpg", "five points in pixels, and a score or none"),
        ("13.jpg 1 2 3 2 2 3 1 4 3 4", "13.jpg", "and a score or none"),
        ("13.jpg 1 2 3 2 2 3 1 4 3 nan 0.9", "13.jpg", "five points in pixels"),
        ("1.jpg 1 2 3 2 2 3 1 4 3 4 0.9", "1.jpg", "a second entry"),
        ("./1.jpg 1 2 3 2 2 3 1 4 3 4 0.9", "1.jpg", "a second entry"),
        ("../1.jpg 1 2 3 2 2 3 1 4 3 4 0.9", "../1.jpg", "a path inside the folder of photos"),
        ("/1.jpg 1 2 3 2 2 3 1 4 3 4 0.9", "/1.jpg", "a path inside the folder of photos"),
    ],
)
def test_a_bad_line_is_named_by_its_number(refusal, ijb, tmp_path, line, found, expected):
    listed = ijb / "meta" / "ijbc_name_5pts_score.txt"
    with listed.open("a") as file:
        file.write(f"{line}\n")
    given = ("--landmarks", listed)
    message = refusal("data", "align", ijb / "loose_crop", tmp_path / "out", *given)
    assert f"{listed}:13: " in message
    assert f"'{found}'" in message
    assert expected in message
    assert not (tmp_path / "out").exists()


@needs_faces
def test_ijbs_list_gives_the_crops_of_the_same_points_in_json(cli, tmp_path):
    marks = FACES / "photos" / "landmarks.json"
    listed = tmp_path / "name_5pts_score.txt"
    entries = json.loads(marks.read_text())
    listed.write_text(
        "".join(f"{name} {points(np.array(at))} {score}\n" for name, (score, at) in entries.items())
    )
    for name, source in (("json", marks), ("list", listed)):
        result = cli("data", "align", FACES / "photos", tmp_path / name, "--landmarks", source)
        assert "aligned 24 of 24 photos" in result.stdout
    for crop in (tmp_path / "json").glob("*.jpg"):
        other = np.array(Image.open(tmp_path / "list" / crop.name), float)
        assert np.abs(np.array(Image.open(crop), float) - other).mean() < 0.1
