from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_faces import FACES, needs_faces

from marginface.data.verification.pairs import read_pairs
from marginface.errors import MarginfaceError

SAME = ["Ann\t1\t2", "Bo\t1\t3"]
DIFFERENT = ["Ann\t1\tBo\t3", "Ann\t2\tBo\t1"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for name in ["Ann/Ann_0001.jpg", "Ann/Ann_0002.png", "Bo/Bo_0001.JPG", "Bo/Bo_0003.jpg"]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "pairs.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path: Path, images: Path) -> str:
    with pytest.raises(MarginfaceError) as caught:
        read_pairs(path, images)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("header", ["2", "1\t2", "1 2"])
def test_one_fold(tmp_path: Path, images: Path, separator: str, header: str) -> None:
    lines = [line.replace("\t", separator) for line in SAME + DIFFERENT]
    pairs = read_pairs(written(tmp_path, [header, *lines]), images)
    assert pairs.first[0] == "Ann/Ann_0001.jpg"
    assert pairs.second == (
        "Ann/Ann_0002.png",
        "Bo/Bo_0003.jpg",
        "Bo/Bo_0003.jpg",
        "Bo/Bo_0001.JPG",
    )
    np.testing.assert_array_equal(pairs.same, [True, True, False, False])
    assert pairs.same.dtype == np.bool_
    assert len(pairs) == 4


def test_folds_keep_their_order(tmp_path: Path, images: Path) -> None:
    lines = [SAME[0], DIFFERENT[0], SAME[1], DIFFERENT[1]]
    pairs = read_pairs(written(tmp_path, ["2 1", *lines]), images)
    np.testing.assert_array_equal(pairs.same, [True, False, True, False])


@pytest.mark.parametrize(
    ("header", "rounds", "folds"),
    [("2\t1", 2, 2), ("5 3", 15, 5), ("30", 30, 10), ("1\t30", 30, 10), ("3", 3, 3)],
)
def test_folds_are_the_files_or_ten_where_it_has_one(tmp_path, images, header, rounds, folds):
    size = int(header.split()[-1])
    fold = [SAME[0]] * size + [DIFFERENT[0]] * size
    pairs = read_pairs(written(tmp_path, [header, *fold * (rounds // size)]), images)
    assert (pairs.folds, len(pairs)) == (folds, 2 * rounds)


def test_windows_line_ends_byte_order_mark_and_blank_lines(tmp_path: Path, images: Path) -> None:
    path = tmp_path / "pairs.txt"
    text = "\r\n".join(["2", *SAME, *DIFFERENT, "", ""])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(read_pairs(path, images)) == 4


def test_tabs_allow_spaces_in_names(tmp_path: Path) -> None:
    (tmp_path / "Al Bo").mkdir()
    for number in (1, 2):
        (tmp_path / "Al Bo" / f"Al Bo_000{number}.jpg").write_bytes(b"")
    (tmp_path / "C").mkdir()
    (tmp_path / "C" / "C_0001.jpg").write_bytes(b"")
    pairs = read_pairs(written(tmp_path, ["1", "Al Bo\t1\t2", "Al Bo\t1\tC\t1"]), tmp_path)
    assert pairs.second == ("Al Bo/Al Bo_0002.jpg", "C/C_0001.jpg")


@pytest.mark.parametrize(
    "line",
    [
        "Ann\t1",
        "Ann\t1\t2\tBo\t1",
        "Ann\tone\t2",
        "Ann\t1\t-2",
        "Ann\t1\t²",
        "Ann\t1\t" + "9" * 5000,
        "\t1\t2",
        "Ann\t1\tAnn\t2",
        "Al Bo 1 2",
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, images: Path, line: str) -> None:
    path = written(tmp_path, ["2", SAME[0], line, *DIFFERENT])
    assert refusal(path, images).startswith(f"{path}:3: expected 'name i j'")


@pytest.mark.parametrize("header", ["", "0", "ten 300", "1 2 3", "-1", "2 0", SAME[0]])
def test_a_malformed_header_is_named(tmp_path: Path, images: Path, header: str) -> None:
    path = written(tmp_path, [header, *SAME, *DIFFERENT])
    assert "expected 'FOLDS N' or 'N'" in refusal(path, images)


def test_a_missing_image_is_named(tmp_path: Path, images: Path) -> None:
    path = written(tmp_path, ["2", *SAME, DIFFERENT[0], "Ann\t7\tBo\t1"])
    message = refusal(path, images)
    assert message.startswith(f"{path}:5: ")
    assert str(images / "Ann" / "Ann_0007") in message


@pytest.mark.parametrize("name", ["..", ".", "../images", "/etc", "..\\x"])
def test_names_that_are_paths_are_refused(tmp_path: Path, images: Path, name: str) -> None:
    path = written(tmp_path, ["2", f"{name}\t1\t2", SAME[1], *DIFFERENT])
    message = refusal(path, images)
    assert message.startswith(f"{path}:2: ")
    assert "is a path" in message


def test_counts_that_disagree_with_the_header(tmp_path: Path, images: Path) -> None:
    short = refusal(written(tmp_path, ["2", *SAME, DIFFERENT[0]]), images)
    assert ":1: " in short
    assert "3 found" in short
    uneven = refusal(written(tmp_path, ["2", *SAME, SAME[0], DIFFERENT[0]]), images)
    assert ":2: fold 1" in uneven
    assert "3 same and 1 different" in uneven
    second = refusal(written(tmp_path, ["2 1", SAME[0], DIFFERENT[0], *DIFFERENT]), images)
    assert ":4: fold 2" in second


def test_empty_missing_and_binary_files(tmp_path: Path, images: Path) -> None:
    assert "is empty" in refusal(written(tmp_path, [""]), images)
    assert "No such file" in refusal(tmp_path / "gone.txt", images)
    assert "cannot read" in refusal(tmp_path, images)
    (tmp_path / "pairs.txt").write_bytes(b"\xff\xfe\x00\x01")
    assert "UTF-8" in refusal(tmp_path / "pairs.txt", images)
    with pytest.raises(
        MarginfaceError, match=r"no such file or folder: .*; expected a folder of images"
    ):
        read_pairs(written(tmp_path, ["2", *SAME, *DIFFERENT]), images / "gone")


FIELD = st.sampled_from(["Ann", "Bo", "1", "2", "3", "..", "\t", " ", "\n", "\x85", "-1", "0"])


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.one_of(st.text(), st.lists(FIELD, max_size=40).map("".join)), st.booleans())
def test_any_text_gives_pairs_or_a_clear_error(images: Path, text: str, headed: bool) -> None:
    path = images.parent / "any.txt"
    path.write_text(("1\n" if headed else "") + text, encoding="utf-8", errors="surrogatepass")
    try:
        pairs = read_pairs(path, images)
    except MarginfaceError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
    else:
        assert len(pairs.first) == len(pairs.second) == len(pairs.same) > 0
        assert all((images / name).is_file() for name in pairs.first + pairs.second)


@needs_faces
def test_the_published_development_pairs() -> None:
    root = FACES / "lfw112" / "test"
    pairs = read_pairs(FACES / "lfw112" / "pairsDevTest.txt", root)
    assert len(pairs) == 1000
    assert pairs.same[:500].all()
    assert not pairs.same[500:].any()
    assert pairs.first[0] == "Abdullah_Gul/Abdullah_Gul_0013.jpg"
    assert all((root / path).is_file() for path in {*pairs.first, *pairs.second})
