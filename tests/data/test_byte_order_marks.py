"""Text files that an editor or a spreadsheet has saved with a byte order mark."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packing_faces import write_faces
from record_files import pack

from marginface.data.formats.folder import open_folder
from marginface.data.opening import open_images
from marginface.data.photos.landmarks import POINT_COLUMNS, read_landmarks
from marginface.data.subsets import choose
from marginface.data.verification.container import read_container

MARK = "\ufeff"
FACE = "ann/1.jpg," + ",".join(map(str, range(10)))
HEADER = ",".join(("path", *POINT_COLUMNS))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", f"{HEADER}\n{FACE}\n"),
        ("a.csv", f"{FACE}\n"),
        ("a.json", '{"ann/1.jpg": [1, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]]}'),
    ],
)
def test_landmarks(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(MARK + text, encoding="utf-8")
    ((photo, faces),) = read_landmarks(tmp_path / name).items()
    assert photo == "ann/1.jpg"
    assert faces.points.ravel().tolist() == list(range(10))


def test_a_table_of_clean(tmp_path: Path) -> None:
    images = open_folder(write_faces(tmp_path / "f", {"ann": 2, "bo": 1}, 12))
    rows = [f"{images.name(at)},x,1.0,{at % 2}\n" for at in range(3)]
    text = f"{MARK}path,identity,angle,kept\n{''.join(rows)}"
    (tmp_path / "kept.csv").write_text(text, encoding="utf-8")
    assert choose(images, kept=tmp_path / "kept.csv").tolist() == [1]


def test_the_pairs_of_a_container(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        table = f"{MARK}first,second,same,fold\na/1.jpg,a/2.jpg,1,1\na/1.jpg,b.jpg,0,1\n"
        archive.writestr("pairs.csv", table)
        for name in ("a/1.jpg", "a/2.jpg", "b.jpg"):
            archive.writestr(f"images/{name}", name)
    pairs = read_container(tmp_path / "a.zip")
    assert (pairs.first, pairs.second) == (("a/1.jpg", "a/1.jpg"), ("a/2.jpg", "b.jpg"))


def test_the_names_of_a_record_file(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "f", {"ann": 1, "bo": 1}, 12)
    packed = pack(faces, tmp_path / "a.rec", (12, 12))
    names = packed.with_suffix(".lst")
    names.write_text(MARK + names.read_text(encoding="utf-8"), encoding="utf-8")
    assert open_images(packed, size=(12, 12)).identities == ("ann", "bo")
