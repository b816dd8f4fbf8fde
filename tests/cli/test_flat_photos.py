"""A folder of photos without folders of persons in it, command by command, as each one advises."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from tiny_model import save_model
from tiny_scrfd import photo_with, save_detector


@pytest.fixture
def photos(tmp_path):
    """Four photos that lie side by side."""
    root = tmp_path / "photos"
    root.mkdir()
    for number, name in enumerate(("ann_1", "ann_2", "bob_1", "bob_2")):
        photo = photo_with(200, 160 + 8 * number, (16, 4, 6))
        Image.fromarray(photo).save(root / f"{name}.png")
    return root


@pytest.fixture
def crops(cli, photos, tmp_path):
    detector, out = save_detector(tmp_path / "tiny.onnx"), tmp_path / "crops"
    said = cli("data", "align", photos, out, "--detector", detector).stdout
    advice = f"to train on them, move each to its person's, {out / 'NAME'}"
    assert f"4 crops lie in no person's folder: {advice}" in said
    return out


def test_crops_without_folders_are_inspected_and_embedded(cli, crops, tmp_path):
    status, out, err = cli("data", "inspect", crops, "--json", tmp_path / "found.json")
    assert status == 0, err
    assert "crops: its images lie in no person's folder: whose they are is unknown" in out
    found = json.loads((tmp_path / "found.json").read_text())["sets"][0]
    assert (found["images"], found["identities"]) == (4, None)
    assert found["sizes"] == {"112x112": 4}
    model = save_model(tmp_path / "model.onnx")
    result = cli("embed", "--model", model, "--images", crops, "--output", tmp_path / "e.npz")
    assert "wrote 4 embeddings" in result.stdout, result.stderr


def test_who_follows_the_advice_can_split(cli, refusal, crops, tmp_path):
    parts = tmp_path / "parts"
    split = ("data", "split", crops, "--output", parts, "--fraction", "0.5", "--by", "image")
    said = refusal(*split)
    assert said.endswith(f"move each to its person's, as {crops}/NAME/ann_1.jpg")
    for crop in sorted(crops.glob("*.jpg")):
        person = crops / crop.name.split("_")[0]
        person.mkdir(exist_ok=True)
        crop.rename(person / crop.name)
    assert cli(*split).status == 0
    above = refusal("data", "inspect", parts)
    assert above.endswith(f"one folder for each identity: give {parts / 'train'}")
    assert cli("data", "inspect", parts / "train").status == 0


def test_photos_are_no_crops(refusal, photos, tmp_path):
    model = save_model(tmp_path / "model.onnx")
    said = refusal("embed", "--model", model, "--images", photos, "--output", tmp_path / "e.npz")
    assert "make a crop of a photo with marginface data align --size 112x112" in said
    said = refusal("data", "align", photos, tmp_path / "again")
    assert "SCRFD with five points or YuNet, such as InsightFace's det_10g.onnx" in said
