"""Verification sets in .bin files, lists and folders, and several of them at once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_sets import Memory, content, pairs_of, refusal
from real_faces import FACES, needs_faces
from record_files import png

from marginface.data.verification.bin_file import read_bin, write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.folds import contiguous_folds
from marginface.data.verification.opening import open_all, open_verification
from marginface.data.verification.pair_folder import write_pair_folder
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError

# .bin


def test_a_bin_keeps_images_and_flags(tmp_path):
    pairs = pairs_of()
    write_bin(tmp_path / "lfw.bin", pairs)
    read = open_verification(tmp_path / "lfw.bin")
    assert content(read) == content(pairs)
    assert (read.name, read.folds, read.images.root) == ("lfw", 3, tmp_path / "lfw.bin")
    # As InsightFace reads it
    images, same = pickle.loads((tmp_path / "lfw.bin").read_bytes(), encoding="bytes")
    assert [bytes(image) for image in images] == [
        image for first, second, _ in content(pairs) for image in (first, second)
    ]
    assert same == pairs.same.tolist()


def test_an_image_that_occurs_again_in_a_bin_has_one_name(tmp_path):
    write_bin(tmp_path / "lfw.bin", pairs_of(3))
    read = read_bin(tmp_path / "lfw.bin")
    assert (read.first, read.second) == (("00000", "00001", "00003"), ("00001", "00003", "00005"))
    with pytest.raises(MarginfaceError, match="has no image 00002"):
        read.images.encoded("00002")


def test_a_bin_has_ten_folds(tmp_path):
    write_bin(tmp_path / "lfw.bin", pairs_of(30, folds=3))
    assert read_bin(tmp_path / "lfw.bin").folds == 10


@pytest.mark.parametrize("write", [write_bin, write_container])
def test_nothing_is_left_where_an_image_is_missing(tmp_path, write):
    path = tmp_path / "set"
    path.write_text("before")
    pairs = pairs_of()
    broken = replace(pairs, second=(*pairs.second[:-1], "gone"))
    with pytest.raises(MarginfaceError, match="no image gone"):
        write(path, broken)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("set", "before")]


@pytest.mark.parametrize(
    ("name", "would_be"),
    [("a.jpg", "a.png"), ("a.png/b.png", "a.png/b.png"), ("a.png/b/c.png", "a.png/b/c.png")],
)
def test_images_that_would_become_one_file_are_named(tmp_path, name, would_be):
    images = {each: png(1) for each in ("a.png", name)}  # the ending will tell the format
    pairs = Pairs(Memory(images), ("a.png",), (name,), np.array([True]), np.array([0]))
    with pytest.raises(MarginfaceError, match=f"another image is where {would_be} would be; ren"):
        write_pair_folder(tmp_path / "out", pairs)
    assert [*tmp_path.iterdir()] == []


# Lists


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a.jpg", "b.png", "c.JPG", "sub/d.jpg", "Al Bo_1.jpg"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(name.encode())
    return tmp_path / "images"


def listed(folder: Path, text: str) -> Path:
    path = folder.parent / "list.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg b.jpg 1\nc.jpg sub/d.jpg 0\n",
        "a.jpg\tb.jpg\t1\n\nc.jpg\tsub/d.jpg\t-1\n",
        "a.jpg, b.png,1\r\nc.bmp,sub/d,0\r\n",
        "\ufeffa.jpg 5\nb.jpg 5\nc.jpg 0\nsub/d.jpg 0\n",
        "a.jpg\t1\nb.jpg\t1\nc.jpg\t0\nsub\\d.jpg\t0\n",
    ],
)
def test_lists_by_their_form(folder, text):
    pairs = open_verification(listed(folder, text), folder)
    assert (pairs.first, pairs.second) == (("a.jpg", "c.JPG"), ("b.png", "sub/d.jpg"))
    assert (pairs.same.tolist(), pairs.folds, pairs.name) == ([True, False], 2, "list")
    assert pairs.images.encoded("sub/d.jpg") == b"sub/d.jpg"


def test_a_list_of_many_pairs_has_ten_folds_and_a_tab_allows_blanks(folder):
    pairs = open_verification(listed(folder, "Al Bo_1.jpg\ta.jpg\t0\n" * 25), folder)
    assert (pairs.folds, pairs.first[0]) == (10, "Al Bo_1.jpg")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.jpg b.jpg 2\n", "list.txt:1: expected 'image1 image2 label'"),
        ("a.jpg b.jpg 1\na.jpg b.jpg\n", "list.txt:2: expected 'image1 image2 label'"),
        ("a.jpg 1\nb.jpg 1\nc.jpg 1\n", "has 3 lines, expected two for each pair"),
        ("a.jpg 1\nb.jpg 0\n", "list.txt:1: the two lines of a pair have labels 1 and 0"),
        ("a.jpg x\nb.jpg x\n", "list.txt:1: expected 'image label' with a whole number"),
        ("a.jpg 1\nb.jpg -1\n", "list.txt:2: expected 'image label'"),
        ("a.jpg b.jpg c.jpg d.jpg 1\n", "list.txt:1: expected LFW's"),
        ("a.jpg ../a.jpg 1\n", "list.txt:1: no image '../a.jpg'"),
        ("/etc/passwd a.jpg 1\n", "no image '/etc/passwd'"),
        ("a.jpg . 1\n", "no image '.'"),
        ("a.jpg e.jpg 1\n", "no image 'e.jpg'"),
        ("", "is empty"),
    ],
)
def test_malformed_lists_are_named(folder, text, reason):
    assert reason in refusal(listed(folder, text), folder)


LINES = st.sampled_from(
    ["a.jpg", "b.jpg", "0", "1", "-1", "..", ",", "\t", " ", "\n", "2 1", "\x00"]
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.one_of(st.text(max_size=30), st.lists(LINES, max_size=30).map("".join)))
def test_any_text_gives_pairs_or_the_librarys_error(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "any" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")
    path = folder.parent / "list.txt"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        pairs = open_verification(path, folder)
    except MarginfaceError as error:
        assert str(path) in str(error)  # noqa: PT017 - or there are pairs, looked at below
    else:
        assert {*pairs.first, *pairs.second} <= {"a.jpg", "b.jpg"}


# CFP


@pytest.fixture
def cfp(tmp_path) -> Path:
    root = tmp_path / "cfp"
    frontal, profile = [], []
    for person in (1, 2, 3):
        for kind, paths, number in (("frontal", frontal, 1), ("profile", profile, 2)):
            name = f"{person:03d}/{kind}/{number:02d}.jpg"
            path = root / "Data" / "Images" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(name.encode())
            paths.append(f"{len(paths) + 1} ../Data/Images/{name}")
    protocol = root / "Protocol"
    for kind in ("FP", "FF"):
        for fold in ("01", "02"):
            split = protocol / "Split" / kind / fold
            split.mkdir(parents=True)
            (split / "same.txt").write_text("1,1\n" if fold == "01" else "2,2\n")
            (split / "diff.txt").write_text("1,2\n" if fold == "01" else "3,1\n")
    (protocol / "Pair_list_F.txt").write_text("\n".join(frontal) + "\n")
    (protocol / "Pair_list_P.txt").write_text("\n".join(profile) + "\n")
    return root


def test_cfps_protocol(cfp):
    pairs = open_verification(cfp / "Protocol" / "Split" / "FP")
    assert pairs.first == tuple(f"00{n}/frontal/01.jpg" for n in (1, 1, 2, 3))
    assert pairs.second == tuple(f"00{n}/profile/02.jpg" for n in (1, 2, 2, 1))
    assert pairs.same.tolist() == [True, False, True, False]
    assert (pairs.folds, pairs.name) == (2, "cfp_fp")
    frontal = open_verification(cfp / "Protocol" / "Split" / "FF")
    assert frontal.second == tuple(f"00{n}/frontal/01.jpg" for n in (1, 2, 2, 1))
    assert frontal.name == "cfp_ff"


def test_cfps_images_may_lie_elsewhere_and_be_of_another_type(cfp, tmp_path):
    aligned = tmp_path / "aligned"
    (cfp / "Data" / "Images").rename(aligned)
    for path in list(aligned.rglob("*.jpg")):
        path.rename(path.with_suffix(".png"))
    pairs = open_verification(cfp / "Protocol" / "Split" / "FP", aligned)
    assert pairs.images.encoded(pairs.first[0]) == b"001/frontal/01.jpg"
    assert pairs.first[0] == "001/frontal/01.png"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("Split/FP/01/same.txt", "1:1\n", "same.txt:1: expected 'i,j'"),
        ("Split/FP/01/diff.txt", "1,9\n", "diff.txt:1: image 9 is not in the list"),
        ("Split/FP/01/diff.txt", "1,2\n1,3\n", "folds have [3, 2] pairs"),
        ("Pair_list_F.txt", "one ../Data/Images/001/frontal/01.jpg\n", "expected 'number path'"),
        ("Pair_list_F.txt", "1 ../../../../etc/passwd\n2 x\n3 x\n", "no image '../etc/passwd'"),
    ],
)
def test_cfps_lists_are_checked(cfp, name, text, reason):
    (cfp / "Protocol" / name).write_text(text)
    assert reason in refusal(cfp / "Protocol" / "Split" / "FP")


def test_a_folder_that_is_not_cfps(cfp, tmp_path):
    assert "CFP's Protocol/Split/FP or FF" in refusal(cfp)
    (tmp_path / "FP").mkdir()
    assert "no such file or folder" in refusal(tmp_path / "FP")
    assert "has no folders 01" in refusal(tmp_path / "FP", cfp)
    (cfp / "Protocol" / "Split" / "FP" / "01" / "same.txt").unlink()
    assert "same.txt: No such file" in refusal(cfp / "Protocol" / "Split" / "FP")


# Several


def test_several_sets_have_names_of_their_own(tmp_path, folder):
    (tmp_path / "other").mkdir()
    paths = [tmp_path / "lfw.bin", tmp_path / "other" / "lfw.bin", tmp_path / "agedb.zip"]
    for path, write in zip(paths, [write_bin, write_bin, write_container], strict=True):
        write(path, pairs_of())
    text = listed(folder, "a.jpg b.jpg 1\na.jpg c.jpg 0\n")
    opened = open_all(paths, text, folder)
    assert [pairs.name for pairs in opened] == [
        f"{tmp_path.name}_lfw",
        "other_lfw",
        "agedb",
        "list",
    ]
    assert [pairs.name for pairs in open_all([text, paths[0]], None, folder)] == ["list", "lfw"]


def test_images_that_no_set_needs_or_that_are_missing(tmp_path, folder):
    write_bin(tmp_path / "lfw.bin", pairs_of())
    with pytest.raises(MarginfaceError, match="every set holds its images; leave the images"):
        open_all([tmp_path / "lfw.bin"], None, folder)
    assert "holds its images" in refusal(tmp_path / "lfw.bin", folder)
    assert "holds no images; give them, too" in refusal(listed(folder, "a.jpg b.jpg 1\n"))
    with pytest.raises(MarginfaceError, match="given 2 times"):
        open_all([tmp_path / "lfw.bin"] * 2, None, None)
    assert "no such file or folder" in refusal(tmp_path / "none.bin")


@pytest.mark.parametrize(("pairs", "folds"), [(2, 2), (7, 3), (12, 5), (23, 10), (600, 7)])
def test_folds_are_those_of_scikit_learn(pairs, folds):
    model_selection = pytest.importorskip("sklearn.model_selection")
    expected = np.empty(pairs, int)
    for fold, (_, members) in enumerate(model_selection.KFold(folds).split(np.empty(pairs))):
        expected[members] = fold
    assert contiguous_folds(pairs, folds).tolist() == expected.tolist()


@needs_faces
@pytest.mark.parametrize(("write", "name"), [(write_bin, "a.bin"), (write_container, "a.zip")])
def test_real_faces_stay_the_same(tmp_path, write, name):
    pairs = open_verification(FACES / "lfw112" / "pairsDevTest.txt", FACES / "lfw112" / "test")
    write(tmp_path / name, pairs)
    read = open_verification(tmp_path / name)
    assert content(read) == content(pairs)
    assert read.folds == pairs.folds == 10
    assert len({*read.first, *read.second}) == len({*pairs.first, *pairs.second})
