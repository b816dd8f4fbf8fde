"""Lists of pairs are known by what their lines hold: without counts, quoted, with a heading."""

from __future__ import annotations

import re
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
    for name in (
        *names,
        "a.jpg",
        "x/1.jpg",
        "x/2.jpg",
        "b c.jpg",
        "d,e.jpg",
        "12.jpg",
        "13.jpg",
        '"q".jpg',
    ):
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
        'ann;1;2\nbo;1;13\nann;2;bo;1\nbo;13;"Al, J";1\n',
        ',name,one,two,\n0,ann,1,2\n1,bo,1,13\n2,ann,2,bo,1\n3,bo,13,"Al, J",1\n',
        '# LFW\n2\nann,1,2\nbo,1,13\n# others\nann,2,bo,1\nbo,13,"Al, J",1\n',
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


ROWS = [("x/1.jpg", "x/2.jpg", True), ("x/1.jpg", "a.jpg", False)]


@pytest.mark.parametrize(
    "text",
    [
        "x/1.jpg;x/2.jpg;1\nx/1.jpg;a.jpg;0\n",
        "x/1.jpg|x/2.jpg|1\nx/1.jpg|a.jpg|0\n",
        ",image1,image2,label\n0,x/1.jpg,x/2.jpg,1\n1,x/1.jpg,a.jpg,0\n",
        ";image1;image2;label\n7;x/1.jpg;x/2.jpg;1\n3;x/1.jpg;a.jpg;0\n",
        "\timage1\timage2\tlabel\n0\tx/1.jpg\tx/2.jpg\t1\n1\tx/1.jpg\ta.jpg\t0\n",
        "Unnamed: 0,left,right,match\n0,x/1.jpg,x/2.jpg,1\n1,x/1.jpg,a.jpg,0\n",
        "0,x/1.jpg,x/2.jpg,1\n1,x/1.jpg,a.jpg,0\n",
        ",0,1,2\n0,x/1.jpg,x/2.jpg,1\n1,x/1.jpg,a.jpg,0\n",
        "0,1,2\nx/1.jpg,x/2.jpg,1\nx/1.jpg,a.jpg,0\n",
        '"one" "two" "same"\n"1" "x/1.jpg" "x/2.jpg" TRUE\n"2" "x/1.jpg" "a.jpg" FALSE\n',
        "x/1.jpg,x/2.jpg,True\nx/1.jpg,a.jpg,False\n",
        "x/1.jpg x/2.jpg yes\nx/1.jpg a.jpg no\n",
        "x/1.jpg\tx/2.jpg\tsame\nx/1.jpg\ta.jpg\tDifferent\n",
        "x/1.jpg,x/2.jpg,1.0\nx/1.jpg,a.jpg,-1.0\n",
        "\ufeffImage1,IMAGE2,Label\r\nx/1.jpg,x/2.jpg,1\r\nx/1.jpg,a.jpg,0\r\n\r\n\r\n",
        "x/1.jpg,x/2.jpg,1,,\nx/1.jpg,a.jpg,0,,\n,,,,\n,,,,\n",
        "# of the test\n#2026\nx/1.jpg,x/2.jpg,1\n# half\nx/1.jpg,a.jpg,0\n#end",
        "# label image1 image2\n1 x/1.jpg x/2.jpg\n0 x/1.jpg a.jpg\n",
        "  x/1.jpg , x/2.jpg , 1 \n x/1.jpg ,  a.jpg , 0\n",
        "is_same,path1,path2\n1,x/1.jpg,x/2.jpg\n0,x/1.jpg,a.jpg\n",
        "path2,label,path1\nx/2.jpg,true,x/1.jpg\na.jpg,false,x/1.jpg\n",
        "id1,path1,id2,path2,score,label\n1,x/1.jpg,1,x/2.jpg,.9,1\n1,x/1.jpg,2,a.jpg,.1,0\n",
        "image;label\nx/1.jpg;1.0\nx/2.jpg;1.0\nx/1.jpg;0.0\na.jpg;0.0\n",
        ",label,path\n0,1,x/1.jpg\n1,1,x/2.jpg\n2,0,x/1.jpg\n3,0,a.jpg\n",
    ],
)
def test_separators_headings_labels_and_comments(images: Path, text: str) -> None:
    assert read(images, text) == ROWS


def test_separators_and_comment_signs_in_names(images: Path) -> None:
    for name in ("f;g.jpg", "#h.jpg"):
        (images / name).write_bytes(b"")
    assert read(images, "d,e.jpg;a.jpg;1\na.jpg;d,e.jpg;0\n")[0] == ("d,e.jpg", "a.jpg", True)
    assert read(images, "f;g.jpg,a.jpg,1\na.jpg,12.jpg,0\n")[0] == ("f;g.jpg", "a.jpg", True)
    assert read(images, "#h.jpg a.jpg 1\n# one\na.jpg 12.jpg 0\n")[0] == ("#h.jpg", "a.jpg", True)


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
        ("a.jpg b.jpg maybe\na.jpg 12.jpg 1\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("12 13 maybe\n12 13 1\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("a.jpg,12.jpg\na.jpg,12.jpg,1\n12.jpg,a.jpg,0\n", "pairs.csv:1: expected 'image1 image2"),
        ("a.jpg,12.jpg,1\na.jpg,12.jpg\n12.jpg,a.jpg,0\n", "pairs.csv:2: expected 'image1 image2"),
        ("image1,image2,label\na.jpg,12.jpg\n12.jpg,a.jpg,0\n", "pairs.csv:2: expected 'image1"),
        ("image1,image2,label\na, b.jpg,12.jpg,1\n", "pairs.csv:2: 4 fields, and 3 in the heading"),
        ("a.jpg,12.jpg\n12.jpg,a.jpg\n", "or 'image1 image2 label', got 'a.jpg,12.jpg'"),
        ("ann 1\nann 1 2\nbo 1 13\n", "pairs.csv:1: expected 'name i j' or 'name1 i name2 j'"),
        (
            "image1,image2,different\na.jpg,12.jpg,0\n",
            "csv:1: the heading .* no column .* lab",
        ),
        (
            "image1,image2,label,same\na.jpg,12.jpg,0,0\n",
            "csv:1: the columns 'label' and 'same'",
        ),
        ("b c.jpg a.jpg 1\na.jpg b c.jpg 0\n", "commas or quotes about names with blanks"),
        ("# nothing\n#at all\n", "has nothing but comments; expected a list of pairs"),
        ("one,two,label\n", "pairs.csv:1: expected 'image1 image2 label'"),
        ("one,two,label\na.jpg,12.jpg\n", "pairs.csv:1: expected 'image1 image2 label'"),
    ],
)
def test_what_is_neither_is_refused_by_its_line(images: Path, text: str, reason: str) -> None:
    path = images.parent / "pairs.csv"
    path.write_text(text)
    assert re.search(reason, refusal(path, images))


def test_text_in_utf_16_is_told_the_way(images: Path) -> None:
    path = images.parent / "pairs.csv"
    path.write_text("a.jpg,12.jpg,1\n", encoding="utf-16")
    assert "is no UTF-8 text; expected a list of pairs" in refusal(path, images)


@needs_faces
def test_real_pairs_without_their_counts(tmp_path: Path) -> None:
    whole, images = FACES / "lfw112" / "pairsDevTest.txt", FACES / "lfw112" / "test"
    cut = tmp_path / "pairs.txt"
    cut.write_text(whole.read_text().partition("\n")[2])
    one, other = open_verification(whole, images), open_verification(cut, images)
    assert (one.first, one.second) == (other.first, other.second)
    assert (one.same.tolist(), one.fold.tolist()) == (other.same.tolist(), other.fold.tolist())
