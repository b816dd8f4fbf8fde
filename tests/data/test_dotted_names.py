"""A dot belongs to a name, unless what is behind it is the ending of a known kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packing_faces import contents, write_faces
from PIL import Image
from record_files import im2rec, names

from marginface.data.formats.folder import open_folder
from marginface.data.listing import open_set
from marginface.data.opening import open_images
from marginface.data.packing.encoding import Encoding, with_extension
from marginface.data.packing.targets import target_format
from marginface.data.packing.training_sets import pack
from marginface.data.photos.photos import crop_names
from marginface.data.verification.pair_lists import read_pair_list
from marginface.errors import MarginfaceError
from marginface.labels import distinct_labels, short_name


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces", {"ann": 3, "bob": 2})


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["arcface_m0.5", "arcface_m0.4"], ["arcface_m0.5", "arcface_m0.4"]),
        (["a/r.1", "b/r.1"], ["a_r.1", "b_r.1"]),
        (["runs/x/..", "runs/x/./y.1"], ["runs", "y.1"]),  # folders are made of these
        (["r50_m0.5.onnx", "r50_m0.4.onnx"], ["r50_m0.5", "r50_m0.4"]),
        (["m0.5", "m0.5.onnx"], ["m0.5", "m0.5_onnx"]),
        (["2024.05.01", "2024.05.02"], ["2024.05.01", "2024.05.02"]),
        (["lfw.v1", "lfw.v2", "lfw.v2.BIN"], ["lfw.v1", "lfw.v2", "lfw.v2_BIN"]),
        (["s.tfrecord-00000-of-00002", "s.1.tfrecord"], ["s", "s.1"]),
    ],
)
def test_labels_keep_dots(paths: list[str], labels: list[str]) -> None:
    assert distinct_labels([Path(path) for path in paths], "model") == labels


def test_short_names() -> None:
    for name in ("J.P._Lee", "v1.2.3", ".bin", "...", "a.b", "onnx", "x.onnx.part"):
        assert short_name(Path(name)) == name


def test_a_list_of_pairs_is_called_by_its_whole_name(faces: Path, tmp_path: Path) -> None:
    for name, expected in (("pairs.v2", "pairs.v2"), ("pairs.10.txt", "pairs.10")):
        (tmp_path / name).write_text("1\nann\t1\t2\nann\t1\tbob\t1\n")
        assert read_pair_list(tmp_path / name, faces).name == expected


def test_names_of_a_list_that_differ_behind_a_dot_stay_two(printed, tmp_path: Path) -> None:
    path = im2rec(tmp_path / "a.rec", [0, 0, 0, 1])
    listed = ["bo/1.5", "bo/1.6", "bo/J.P._Lee_0001", "ann/v1.0"]
    labels = [0, 0, 0, 1]
    (tmp_path / "a.lst").write_text(
        "".join(f"{k}\t{labels[k]}\t{name}\n" for k, name in enumerate(listed))
    )
    images = open_images(path)
    assert names(images) == listed
    for image_format, ending in (("png", ".png"), ("jpeg", ".jpg")):
        target = tmp_path / image_format
        printed("data", "pack", path, target, "--format", image_format)
        assert sorted(contents(target)) == sorted(f"{name}{ending}" for name in listed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bo/1.5", "bo/1.5.png"),
        ("bo/1.5.JPG", "bo/1.5.png"),
        ("J.P._Lee/J.P._Lee_0001", "J.P._Lee/J.P._Lee_0001.png"),
        ("a.jpg/b", "a.jpg/b.png"),
        ("a/b.PNG", "a/b.PNG"),
        ("a/b.jpg.5", "a/b.jpg.5.png"),
    ],
)
def test_an_extension_replaces_that_of_an_image_alone(name: str, expected: str) -> None:
    encoded = Encoding(format="png")(b"P5 1 1 255 0", name)
    assert with_extension(name, encoded) == expected


def test_crops_of_names_with_dots() -> None:
    photos = ["bo/1.5.jpg", "bo/1.6.JPEG", "bo/J.P._Lee_0001", "bo/J.P._Lee_0002", "1.5"]
    assert list(crop_names(photos, "png").values()) == [
        *("bo/1.5.png", "bo/1.6.png", "bo/J.P._Lee_0001.png", "bo/J.P._Lee_0002.png", "1.5.png")
    ]
    with pytest.raises(MarginfaceError, match=r"x\.bmp and x\.jpg would both be x\.png"):
        crop_names(["x.bmp", "x.jpg"], "png")


@pytest.mark.parametrize("name", ["out.v2", "faces_112.0", "2024.05.01", "faces.clean"])
def test_a_folder_may_have_a_dot_in_its_name(
    printed, faces: Path, tmp_path: Path, name: str
) -> None:
    printed("data", "pack", faces, tmp_path / "packed" / name)
    assert contents(tmp_path / "packed" / name) == contents(faces)
    printed(
        "data", "subset", tmp_path / "packed" / name, tmp_path / "part" / name, "--max-images", 1
    )
    assert len(contents(tmp_path / "part" / name)) == 2
    printed("data", "split", faces, "--output", tmp_path / f"split_{name}", "--fraction", 0.5)
    listed = tmp_path / "pairs.txt"
    listed.write_text("1\nann\t1\t2\nann\t1\tbob\t1\n")
    (tmp_path / "lfw").mkdir()
    printed("data", "pack", faces, tmp_path / "lfw" / name, "--pairs", listed)
    assert "pairs.txt" in contents(tmp_path / "lfw" / name)


@pytest.mark.parametrize("ending", [".npz", ".lmdb", ".tfrecords", ".jpg", ".tar", ".idx"])
def test_a_kind_of_file_that_is_not_written_is_no_folder(
    faces: Path, tmp_path: Path, ending: str
) -> None:
    with pytest.raises(MarginfaceError, match=rf"for a folder, not \{ending}"):
        pack(open_folder(faces), tmp_path / f"a{ending}")
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_a_shard_alone_is_not_written(faces: Path, tmp_path: Path) -> None:
    for name in ("a.tfrecord-00000-of-00002", "a-00000-of-00002.tfrecord", "a-00-of-02"):
        assert target_format(tmp_path / name) not in ("", ".tfrecord")
        with pytest.raises(MarginfaceError, match="cannot write training images to"):
            pack(open_folder(faces), tmp_path / name)


def test_record_files_with_dots_in_their_names(faces: Path, tmp_path: Path) -> None:
    for name in ("a.v1.rec", "a.v2.rec", "a.1.5.tfrecord"):
        pack(open_folder(faces), tmp_path / name)
        assert len(open_set(tmp_path / name)) == 5
    assert (tmp_path / "a.v1.idx").exists()
    assert (tmp_path / "a.v2.lst").exists()


def test_equal_images_of_two_runs_get_two_folders(printed, faces: Path, tmp_path: Path) -> None:
    """What `evaluate --output` writes lies under the label of each model."""
    labels = distinct_labels([tmp_path / "run_lr0.1", tmp_path / "run_lr0.2"], "model")
    assert len({tmp_path / label for label in labels}) == 2
    pixels = np.zeros((2, 2, 3), np.uint8)
    Image.fromarray(pixels).save(faces / "ann" / "1.5.png")
    Image.fromarray(pixels).save(faces / "ann" / "1.6.png")
    printed("data", "pack", faces, tmp_path / "jpegs", "--format", "jpeg")
    assert {"ann/1.5.jpg", "ann/1.6.jpg"} <= set(contents(tmp_path / "jpegs"))
