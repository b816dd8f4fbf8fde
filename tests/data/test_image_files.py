"""Which files in a folder are images, and that every command says what it passed over."""

from __future__ import annotations

import csv
import json
import os
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scrfd import photo_with, save_detector

from marginface.data import image_files, images
from marginface.data.formats.folder import open_folder
from marginface.data.image_files import PassedOverWarning, folder_files, list_images
from marginface.data.images import NEEDS_HEIF, decode_image, has_heif, read_image
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError


def encoded(kind: str, shade: int = 90) -> bytes:
    """Return a picture of 112 x 112 pixels in some format."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
        assert has_heif()
    written = BytesIO()
    Image.new("RGB", (112, 112), (shade, 120, 60)).save(written, kind)
    return written.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """The images of two persons under all kinds of names, and what is none."""
    return write(
        tmp_path / "people",
        {
            "ann/1.jpg": encoded("JPEG"),
            "ann/2.jfif": encoded("JPEG", 91),
            "ann/4": encoded("JPEG", 92),
            "ann/5.JPG_large": encoded("PNG", 93),
            "ann/6.jpg": encoded("PNG", 94),
            "ann/7.2": encoded("WEBP", 95),
            "bo/1.JFIF": encoded("JPEG", 96),
            "bo/2.jpe": encoded("JPEG", 97),
            "bo/notes.txt": b"She moved in May.",
            "bo/empty": b"",
            "bo/clip.mp4": b"\0\0\0\x20ftypisom" + bytes(40),
            ".DS_Store": b"x",
            "ann/Thumbs.db": b"x",
            "alignment.csv": b"path,status\n",
        },
    )


IMAGES = [
    *("ann/1.jpg", "ann/2.jfif", "ann/4", "ann/5.JPG_large", "ann/6.jpg", "ann/7.2"),
    *("bo/1.JFIF", "bo/2.jpe"),
]
OTHERS = [(f"bo/{name}", "no image") for name in ("clip.mp4", "empty", "notes.txt")]
SAID = "passed over 3 files in {}, such as bo/clip.mp4 (no image), bo/empty (no image), "


def test_images_are_known_by_what_they_hold(people: Path) -> None:
    files = folder_files(people)
    assert (files.images, files.others) == (IMAGES, OTHERS)
    for name in IMAGES:
        assert read_image(people / name).shape == (112, 112, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_every_kind_is_known_without_an_ending(tmp_path: Path, kind: str) -> None:
    write(tmp_path, {"ann/1": encoded(kind), "ann/2.old": encoded(kind, 91)})
    assert folder_files(tmp_path).images == ["ann/1", "ann/2.old"]


def test_nothing_is_passed_over_without_a_word(people: Path) -> None:
    with pytest.warns(PassedOverWarning) as caught:
        assert list_images(people) == IMAGES
    assert [str(each.message) for each in caught] == [
        f"{SAID.format(people)}bo/notes.txt (no image)"
    ]
    for _, path in enumerate(["clip.mp4", "empty", "notes.txt"]):
        (people / "bo" / path).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list_images(people) == IMAGES  # hidden files, own tables and thumbnails are expected


def test_files_with_an_images_ending_are_not_opened_to_list_them(people: Path, monkeypatch) -> None:
    looked = []
    monkeypatch.setattr(image_files, "_why_not", lambda begin: looked.append(begin) or "")
    folder_files(people)
    assert len(looked) == 8  # 4, 5.JPG_large, 7.2, the three that are none, and what is expected


@pytest.mark.parametrize("name", ["ann/9", "ann/9.jpg"])
def test_what_is_no_regular_file_is_not_waited_for(people: Path, name: str) -> None:
    os.mkfifo(people / name)
    files = folder_files(people)
    assert (name, "no regular file") in files.others
    assert name not in files.images


def test_a_link_to_nothing_is_found_bad_when_it_is_read(people: Path) -> None:
    (people / "ann" / "9.jpg").symlink_to("absent.jpg")
    (people / "ann" / "circle").symlink_to("circle")
    files = folder_files(people)
    assert "ann/9.jpg" in files.images
    assert ("ann/circle", "no regular file") in files.others


def test_a_file_that_cannot_be_read_is_named(people: Path, monkeypatch) -> None:
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(image_files, "open", refuse, raising=False)
    assert ("ann/4", "cannot be read: Permission denied") in folder_files(people).others


def test_photos_of_phones(people: Path, monkeypatch) -> None:
    heic = encoded("HEIF")
    write(people, {"bo/3.HEIC": heic, "bo/8": heic})
    assert {"bo/3.HEIC", "bo/8"} <= set(folder_files(people).images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it has no EXIF, which is no damage
        pixels = read_image(people / "bo/8")
    assert np.abs(pixels.astype(int) - [90, 120, 60]).max() < 6
    monkeypatch.setattr(images, "has_heif", lambda: False)
    monkeypatch.setattr(image_files, "has_heif", lambda: False)
    others = dict(folder_files(people).others)
    assert others["bo/3.HEIC"] == others["bo/8"] == NEEDS_HEIF
    with pytest.warns(PassedOverWarning, match=r"5 files .*bo/3\.HEIC \(HEIC, which needs"):
        list_images(people)


def test_an_encoded_heic_says_what_it_needs(monkeypatch) -> None:
    monkeypatch.setattr(images, "has_heif", lambda: False)
    begin = b"\0\0\0\x18ftypheic" + bytes(40)
    with pytest.raises(
        MarginfaceError, match=r"needs pillow-heif: pip install 'marginface\[heic\]'"
    ):
        decode_image(begin, "train.rec: record 7")


def test_a_folder_of_none_says_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, {"ann/list.txt": b"x"})
    with pytest.raises(MarginfaceError, match=r"no images under .*ann/list\.txt \(no image\)"):
        list_images(tmp_path)


def test_identities_without_images_are_left_out_alike(people: Path) -> None:
    (people / "cy").mkdir()
    write(people, {"di/readme.txt": b"x"})
    for options in (OpenOptions(check=True), OpenOptions()):
        with pytest.warns(PassedOverWarning) as caught:
            found = open_folder(people, options)
        said = f"passed over 2 folders without images in {people}, such as cy, di"
        assert said in [str(each.message) for each in caught]
        assert (found.identities, found.empty) == (("ann", "bo"), ("cy", "di"))
        assert found.skipped == ()


@pytest.fixture
def warned(printed):
    def run(*arguments: object) -> tuple[str, list[str]]:
        """Run a command; return its output and its warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            text = printed(*arguments)
        return text, [str(each.message) for each in caught]

    return run


def test_every_command_says_what_it_passed_over(people, tmp_path, warned, fake_backend) -> None:
    del fake_backend
    (people / "cy").mkdir()
    said = SAID.format(people)
    empty = f"passed over 1 folder without images in {people}, such as cy"
    small = ("--backbone", "mobilefacenet", "--embedding-size", 4, "--batch-size", 4)
    commands = [
        ("train", "--data", people, "--output", tmp_path / "run", *small, "--max-steps", 1),
        ("data", "pack", people, tmp_path / "packed"),
        ("data", "pack", people, tmp_path / "packed.rec"),
        ("data", "split", people, "--output", tmp_path / "parts", "--fraction", 0.5),
        ("data", "subset", people, tmp_path / "part", "--max-images", 1),
        ("data", "inspect", people, "--json", tmp_path / "found.json"),
        ("data", "preview", people, tmp_path / "sheet.png", "--augment", "flip"),
    ]
    for command in commands:
        _, heard = warned(*command)
        assert sum(said in each for each in heard) == 1, command
        assert empty in heard or command[1] == "preview", command
    out, _ = warned("data", "inspect", people)
    assert "files passed over" in out
    assert "bo/clip.mp4 (no image)" in out
    found = json.loads((tmp_path / "found.json").read_text())["sets"][0]
    assert found["passed_over"] == [{"name": name, "reason": why} for name, why in OTHERS]
    assert found["empty_identities"] == ["cy"]
    assert (tmp_path / "run" / "identities.txt").read_text() == "ann\nbo\n"
    # In a folder that is written, names end as their images do; what fits stays.
    packed = folder_files(tmp_path / "packed").images
    assert packed == [
        *("ann/1.jpg", "ann/2.jfif", "ann/4.jpg", "ann/5.JPG_large.png", "ann/6.jpg"),
        *("ann/7.2.webp", "bo/1.JFIF", "bo/2.jpe"),
    ]
    assert (tmp_path / "packed" / "ann" / "4.jpg").read_bytes() == (people / "ann/4").read_bytes()


def test_alignment_has_a_row_for_each_file(tmp_path: Path, warned) -> None:
    save_detector(tmp_path / "scrfd.onnx")
    photos = tmp_path / "photos"
    for name in ("ann/1.jfif", "ann/2"):
        written = BytesIO()
        Image.fromarray(photo_with(200, 160, (16, 4, 6))).save(written, "PNG")
        write(photos, {name: written.getvalue()})
    write(photos, {"ann/notes.txt": b"x", "bo/3.jpg": b"broken"})
    warned("data", "align", photos, tmp_path / "out", "--detector", tmp_path / "scrfd.onnx")
    with (tmp_path / "out" / "alignment.csv").open(newline="") as file:
        rows = {row["path"]: (row["status"], row["detail"]) for row in csv.DictReader(file)}
    assert {*rows} == {"ann/1.jfif", "ann/2", "ann/notes.txt", "bo/3.jpg"}
    assert rows["ann/notes.txt"] == ("no image", "no image")
    assert rows["bo/3.jpg"][0] == "unreadable"
