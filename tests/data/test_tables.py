"""Tables in text as editors, spreadsheets and pandas save them, in each of their readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from packing_faces import write_faces

from marginface.data.formats.folder import open_folder
from marginface.data.lookup import ImageNames
from marginface.data.photos.landmarks import POINT_COLUMNS, read_landmarks
from marginface.data.subsets import choose
from marginface.errors import MarginfaceError
from marginface.evaluation import template_files as files
from marginface.evaluation.image_lists import read_subjects_of_images

Table = list[list[str]]


def semicolons(table: Table) -> str:
    return "".join(f"{';'.join(row)}\n" for row in table)


def with_an_index(table: Table) -> str:
    heading, *rows = table
    lines = [["", *heading], *([str(at), *row] for at, row in enumerate(rows))]
    return "".join(f"{','.join(row)}\n" for row in lines)


def in_another_order(table: Table) -> str:
    return "".join(f"{','.join(reversed(row))}\n" for row in table)


def by_a_spreadsheet(table: Table) -> str:
    heading, *rows = table
    lines = [[name.upper() for name in heading], *rows, [""] * 3]
    return "\ufeff" + "".join(f"{' , '.join(row)} ,,\r\n" for row in lines)


def tabs_and_comments(table: Table) -> str:
    return "# made by hand\n" + "#\n".join("\t".join(row) + "\n" for row in table) + "#end"


def as_r_writes_it(table: Table) -> str:
    heading, *rows = table
    lines = [heading, *([str(at), *row] for at, row in enumerate(rows, 1))]
    return "".join(" ".join(f'"{field}"' for field in row) + "\n" for row in lines)


WRITERS = [
    *(semicolons, with_an_index, in_another_order),
    *(by_a_spreadsheet, tabs_and_comments, as_r_writes_it),
]
write = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


@write
def test_landmarks(tmp_path: Path, write: Callable[[Table], str]) -> None:
    path = tmp_path / "points.csv"
    table = [["path", *POINT_COLUMNS], ["ann/1.jpg", *map(str, range(10))]]
    path.write_text(write(table), encoding="utf-8", newline="")
    ((photo, faces),) = read_landmarks(path).items()
    assert (photo, faces.points.ravel().tolist()) == ("ann/1.jpg", [*range(10)])
    path = path.rename(tmp_path / "points")  # known by what it holds
    assert write in (in_another_order, as_r_writes_it) or read_landmarks(path)


@write
def test_a_kept_table(tmp_path: Path, write: Callable[[Table], str]) -> None:
    images = open_folder(write_faces(tmp_path / "f", {"ann": 2, "bo": 1}, 12))
    rows = [[images.name(at), "x", "1.0", ("False", "1.0")[at % 2]] for at in range(3)]
    path = tmp_path / "kept.csv"
    path.write_text(write([["path", "identity", "angle", "kept"], *rows]), newline="")
    assert choose(images, kept=path).tolist() == [1]


@write
def test_subjects_of_templates(tmp_path: Path, write: Callable[[Table], str]) -> None:
    path = tmp_path / "gallery.csv"
    table = [["TEMPLATE_ID", "SUBJECT_ID", "FILENAME"], ["1", "3", "1.jpg"], ["2", "4", "2.jpg"]]
    path.write_text(write(table), newline="")
    assert files.read_subjects(path) == {1: 3, 2: 4}


@write
def test_media_of_templates(tmp_path: Path, write: Callable[[Table], str]) -> None:
    path = tmp_path / "media.csv"
    table = [["filename", "template_id", "media_id"], ["b/1.jpg", "7", "9"], ["b/2.jpg", "8", "9"]]
    path.write_text(write(table), newline="")
    media = files.read_media(path)
    assert media.names == ("b/1.jpg", "b/2.jpg")
    assert (media.template.tolist(), media.medium.tolist()) == ([7, 8], [9, 9])


@write
def test_detector_scores(tmp_path: Path, write: Callable[[Table], str]) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(write([["name", "score"], ["1.jpg", "0.5"], ["2.jpg", "0.75"]]), newline="")
    assert files.read_detector_scores(path) == {"1.jpg": 0.5, "2.jpg": 0.75}


@write
def test_images_and_their_subjects(tmp_path: Path, write: Callable[[Table], str]) -> None:
    path = tmp_path / "probes.csv"
    path.write_text(write([["Path", "Identity"], ["1.jpg", "ann"], ["b/2", "bo"]]), newline="")
    assert read_subjects_of_images(path) == {"1.jpg": "ann", "b/2": "bo"}


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        ("1.jpg,ann\nb/2.jpg,bo\n", {"1.jpg": "ann", "b/2.jpg": "bo"}),
        ("1.jpg;Lee\nb/2, 3.jpg;Bo\n", {"1.jpg": "Lee", "b/2, 3.jpg": "Bo"}),
        (
            "Lee, Ann/1.jpg\nLee, Bo/2.jpg\n",
            {"Lee, Ann/1.jpg": "Lee, Ann", "Lee, Bo/2.jpg": "Lee, Bo"},
        ),
        ("Al Bo/1.jpg\nAl Bo/2.jpg\n", {"Al Bo/1.jpg": "Al Bo", "Al Bo/2.jpg": "Al Bo"}),
        ("image\nann/1.jpg\n", {"ann/1.jpg": "ann"}),
        ("# mine\nann/1.jpg\n#ann/2.jpg\n", {"ann/1.jpg": "ann", "#ann/2.jpg": "#ann"}),
        ("1.jpg\tann\nbo/2.jpg\n", {"1.jpg": "ann", "bo/2.jpg": "bo"}),
    ],
)
def test_lists_of_images(tmp_path: Path, text: str, subjects: dict[str, str]) -> None:
    (tmp_path / "list").write_text(text)
    assert read_subjects_of_images(tmp_path / "list") == subjects


@pytest.mark.parametrize(
    "text",
    [
        "1 2 1\n1 3 0\n",
        "1,2,1\r\n1,3,0\r\n",
        "1\t2\t1\n1\t3\t0\n",
        "# pairs\n\n1;2;1\n1;3;0\n",
        "\ufefft1,t2,same\n1,2,1\n1,3,0\n",
    ],
)
def test_pairs_of_templates(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs").write_text(text, encoding="utf-8", newline="")
    (block,) = files.read_template_pairs(tmp_path / "pairs")
    assert (block.first.tolist(), block.second.tolist()) == ([1, 1], [2, 3])
    assert block.same.tolist() == [True, False]


def test_blanks_at_the_ends_of_a_name_may_be_lost_in_a_table() -> None:
    images = ImageNames([" ann/1.jpg", "bo/1.jpg"])
    assert images.find("ann/1.jpg") == images.find(" ann/1.jpg") == " ann/1.jpg"
    assert ImageNames([" bo/1.jpg", "bo/1.jpg"]).find("bo/1.jpg") == "bo/1.jpg"


def test_a_row_longer_than_its_heading_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gallery.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,3,a\n1,3,a, b.jpg\n")
    with pytest.raises(MarginfaceError, match=r"gallery.csv:3: 4 fields, and 3 in the heading"):
        files.read_subjects(tmp_path / "gallery.csv")
