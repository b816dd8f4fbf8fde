"""Pairs with missing or broken images: refused with advice, or left out and counted by fold."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from record_files import png

from marginface.data.verification.container import write_container
from marginface.data.verification.leaving_out import left_out_line
from marginface.data.verification.opening import open_verification
from marginface.errors import MarginfaceError

PEOPLE = 4  # with four images each: in every list, a fold has two pairs of each kind
SAME = [(p, a, p, a + 1) for p in range(PEOPLE) for a in (1, 3)]
OTHER = [(p, a, (p + 1) % PEOPLE, a) for p in range(PEOPLE) for a in (1, 3)]
FOLDS = [SAME[:2], OTHER[:2], SAME[2:4], OTHER[2:4], SAME[4:6], OTHER[4:6], SAME[6:], OTHER[6:]]


def image(person: int, number: int) -> str:
    return f"p{person}/p{person}_{number:04d}.png"


def rows() -> list[tuple[str, str, int, int]]:
    """Return first, second, same and fold of each pair, in LFW's order."""
    return [
        (image(a, i), image(b, j), int(a == b), part // 2 + 1)
        for part, pairs in enumerate(FOLDS)
        for a, i, b, j in pairs
    ]


def lfw(root: Path) -> Path:
    lines = [
        f"p{a}\t{i}\t{j}" if a == b else f"p{a}\t{i}\tp{b}\t{j}"
        for part in FOLDS
        for a, i, b, j in part
    ]
    path = root / "set.txt"
    path.write_text("\n".join(["4\t2", *lines]))
    return path


def calfw(root: Path) -> Path:
    path = root / "set.txt"
    lines = [f"{name} {fold * same}" for *pair, same, fold in rows() for name in pair]
    path.write_text("\n".join(lines))
    return path


def agedb(root: Path) -> Path:
    path = root / "set.txt"
    path.write_text("\n".join(" ".join(map(str, row)) for row in rows()))
    return path


def cfp(root: Path) -> Path:
    split = root / "Protocol" / "Split" / "FF"
    every = [image(person, number) for person in range(PEOPLE) for number in range(1, 5)]
    listed = [f"{at} {name}\n" for at, name in enumerate(every, 1)]
    for *pair, same, fold in rows():
        part = split / f"{fold:02d}"
        part.mkdir(parents=True, exist_ok=True)
        with (part / ("same.txt" if same else "diff.txt")).open("a") as file:
            file.write(",".join(str(every.index(name) + 1) for name in pair) + "\n")
    (root / "Protocol" / "Pair_list_F.txt").write_text("".join(listed))
    return split


FORMS = [lfw, calfw, agedb, cfp]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for person in range(PEOPLE):
        for number in range(1, 5):
            path = tmp_path / "images" / image(person, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(10 * person + number))
    return tmp_path / "images"


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("spoil", [Path.unlink, broken])
@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_left_out_and_counted_by_fold(
    images: Path, form: Callable[[Path], Path], spoil: Callable[[Path], None]
) -> None:
    path = form(images.parent)
    whole = open_verification(path, images)
    assert (len(whole), whole.folds, left_out_line(whole)) == (16, 4, "")
    spoil(images / image(1, 2))  # of one pair, of fold 2
    spoil(images / image(3, 3))  # of three: fold 4's same, fold 3's and fold 4's different ones
    left = open_verification(path, images, skip_bad=True)
    listed = zip(whole.first, whole.second, whole.same.tolist(), whole.fold.tolist(), strict=True)
    kept = [row for row in listed if not {*row[:2]} & {image(1, 2), image(3, 3)}]
    rows_left = zip(left.first, left.second, left.same.tolist(), left.fold.tolist(), strict=True)
    assert list(rows_left) == kept
    assert left.left_out == (0, 1, 1, 2)
    assert left_out_line(left) == (
        f"{left.name}: left out 4 of 16 pairs with missing or broken images: 1 of fold 2, "
        "1 of fold 3, 2 of fold 4"
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_advice_for_a_missing_image_works_in_each_command(
    images: Path, form: Callable[[Path], Path], refusal, printed, cli
) -> None:
    path, target = form(images.parent), images.parent / "packed.zip"
    (images / image(0, 1)).unlink()
    pack = ["data", "pack", images, target, "--pairs", path]
    if form is not cfp:  # which is a folder, and goes to evaluate and train
        assert "or leave out such pairs with --skip-bad" in refusal(*pack)
        assert not target.exists()
        assert "left out 3 of 16 pairs" in printed(*pack, "--skip-bad")
        assert open_verification(target).folds == 4
    evaluate = ["evaluate", "--model", images.parent / "no.onnx", "--val", path, "--images", images]
    assert "or leave out such pairs with --skip-bad" in refusal(*evaluate)
    # The pairs open now: what is missing is the model.
    done = cli(*evaluate, "--skip-bad")
    assert "left out 3 of 16 pairs" in done.stderr
    assert "no.onnx" in done.stderr


def test_a_fold_without_a_pair_goes_and_no_pair_is_an_error(images: Path) -> None:
    path = agedb(images.parent)
    for person, number in {pair[:2] for part in FOLDS[:2] for pair in part}:
        (images / image(person, number)).unlink()
    left = open_verification(path, images, skip_bad=True)
    assert (left.folds, left.left_out) == (3, (4, 0, 0, 2))
    for each in images.rglob("*.png"):
        each.unlink()
    (images / "else.png").write_bytes(png(1))
    with pytest.raises(MarginfaceError, match="none of the 16 pairs has two images"):
        open_verification(path, images, skip_bad=True)


def test_broken_images_of_a_container_are_left_out_by_pack(images: Path, printed, refusal) -> None:
    broken(images / image(2, 4))
    whole, target = images.parent / "whole.zip", images.parent / "left.zip"
    write_container(whole, open_verification(agedb(images.parent), images))
    assert "cannot read the image" in refusal("data", "pack", whole, target)
    assert "whole: left out 1 of 16" in printed("data", "pack", whole, target, "--skip-bad")
    assert open_verification(target).same.sum() == 7


def test_an_unpacked_containers_table_is_a_list(images: Path) -> None:
    pairs = open_verification(agedb(images.parent), images)
    table = images.parent / "pairs.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["first", "second", "same", "fold"], *rows()])
    read = open_verification(table, images)
    assert (read.first, read.second) == (pairs.first, pairs.second)
    assert (read.fold.tolist(), read.same.tolist()) == (pairs.fold.tolist(), pairs.same.tolist())
