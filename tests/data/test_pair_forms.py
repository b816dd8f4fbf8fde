"""Lists of pairs are known by what their lines hold: without counts, quoted, with a heading."""

from __future__ import annotations

from pathlib import Path

import pytest
from pair_sets import refusal
from real_faces import FACES, needs_faces

from marginface.data.verification.opening import open_verification

LFW_LINES = [("ann", 1, "ann", 2), ("bo", 1, "bo", 13), ("ann", 2, "bo", 1), ("bo", 13, "Al, J", 1)]
LFW = [(f"{a}/{a}_{i:04d}.jpg", f"{b}/{b}_{j:04d}.jpg", a == b) for a, i, b, j in LFW_LINES]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    names = {name for *pair, _ in LFW for name in pair}
    for name in (*names, "a.jpg", "b c.jpg", "d,e.jpg", "12.jpg", "13.jpg", '"q".jpg'):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "images"


def read(images: Path, text: str) -> list[tuple[str, str, bool]]:
    path = images.parent / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    pairs = open_verification(path, images)
    return list(zip(pairs.first, pairs.second, pairs.same.tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "ann\t1\t2\nbo\t1\t13\nann\t2\tbo\t1\nbo\t13\tAl, J\t1\n",
        'ann,1,2\nbo,1,13\nann,2,bo,1\nbo,13,"Al, J",1\n',
        'name,imagenum1,imagenum2,\nann,1,2,\nbo,1,13,\nann,2,bo,1\nbo,13,"Al, J",1\n',
        'name,one,name,other\n"ann","1","2"\n"bo","1","13"\n"ann","2","bo","1"\nbo,13,"Al, J",1\n',
        'ann 1 2\nbo 1 13\nann 2 bo 1\nbo 13 "Al, J" 1\n',
        '2\nann,1,2\nbo,1,13\nann,2,bo,1\nbo,13,"Al, J",1\n',
        '1,2\n"ann",1,2\n"bo",1,13\n"ann",2,"bo",1\n"bo",13,"Al, J",1\n',
    ],
)
def test_lfws_lines_with_and_without_counts(images: Path, text: str) -> None:
    assert read(images, text) == LFW


NAMED = [("a.jpg", "b c.jpg", True), ("d,e.jpg", "a.jpg", False)]


@pytest.mark.parametrize(
    "text",
    [
        '"a.jpg","b c.jpg",1\n"d,e.jpg","a.jpg",0\n',
        'image1,image2,label\n"a.jpg","b c.jpg","1"\n"d,e.jpg","a.jpg","0"\n',
        "first\tsecond\tsame\na.jpg\tb c.jpg\t1\nd,e.jpg\ta.jpg\t0\n",
        'a.jpg "b c.jpg" 1\n"d,e.jpg"  a.jpg  -1\n',
        'first,second,same,fold\na.jpg,b c.jpg,1,1\n"d,e.jpg",a.jpg,0,2\n',
        'image,label\na.jpg,4\nb c.jpg,4\n"d,e.jpg",0\n"a.jpg",0\n',
    ],
)
def test_quoted_fields_and_headings(images: Path, text: str) -> None:
    assert read(images, text) == NAMED


def test_numbers_may_be_names_and_quotes_part_of_them(images: Path) -> None:
    assert read(images, "12 13 1\n13 12 0\n") == [
        ("12.jpg", "13.jpg", True),
        ("13.jpg", "12.jpg", False),
    ]
    assert read(images, '"q".jpg,a.jpg,1\na.jpg,12.jpg,0\n')[0] == ('"q".jpg', "a.jpg", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ann 1 2\nbo 1 x\n", "pairs.csv:2: expected 'name i j' or 'name1 i name2 j'"),
        ("ann 13 14\n", "no image"),
        ("a.jpg b.jpg yes\na.jpg 12.jpg 1\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("12 13 yes\n12 13 1\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("one,two,label\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("one,two,label\na.jpg,12.jpg\n", "pairs.csv:1: expected 'image1 image2 label'"),
    ],
)
def test_what_is_neither_is_refused_by_its_line(images: Path, text: str, reason: str) -> None:
    path = images.parent / "pairs.csv"
    path.write_text(text)
    assert reason in refusal(path, images)


@needs_faces
def test_real_pairs_without_their_counts(tmp_path: Path) -> None:
    whole, images = FACES / "lfw112" / "pairsDevTest.txt", FACES / "lfw112" / "test"
    cut = tmp_path / "pairs.txt"
    cut.write_text(whole.read_text().partition("\n")[2])
    one, other = open_verification(whole, images), open_verification(cut, images)
    assert (one.first, one.second) == (other.first, other.second)
    assert (one.same.tolist(), one.fold.tolist()) == (other.same.tolist(), other.fold.tolist())
