"""Which folds the pairs of a verification set are in, whatever tells them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair_sets import Memory
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.packing.conversion import convert
from marginface.data.packing.encoding import Encoding
from marginface.data.verification.bin_file import write_bin
from marginface.data.verification.container import write_container
from marginface.data.verification.folds import contiguous_folds, folds_of_both_kinds, usual_folds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pairs import Pairs
from marginface.embeddings.embedder import open_embedder
from marginface.evaluation.evaluate import embed_pairs, score_pairs
from marginface.evaluation.verification import verify


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty images of twenty people, as LFW names them."""
    for person in range(20):
        folder = tmp_path / "images" / f"p{person:02d}"
        folder.mkdir(parents=True)
        for number in (1, 2):
            picture = Image.new("RGB", (8, 8), (person * 10, number * 99, 0))
            picture.save(folder / f"p{person:02d}_{number:04d}.png")
    return tmp_path / "images"


def one(person: int, number: int = 1) -> str:
    return f"p{person:02d}/p{person:02d}_{number:04d}.jpg"


SAME = [(one(person), one(person, 2)) for person in range(20)]
DIFFERENT = [(one(person), one((person + 1) % 20, 2)) for person in range(20)]


def agedb(pairs: list[tuple[str, str]], label: int) -> list[str]:
    return [f"{first} {second} {label}" for first, second in pairs]


def calfw(pairs: list[tuple[str, str]], labels: list[int]) -> list[str]:
    rows = zip(pairs, labels, strict=True)
    return [f"{image} {label}" for images, label in rows for image in images]


def lfw(pairs: list[tuple[str, str]]) -> list[str]:
    return [
        f"{first[:3]}\t1\t2" if first[:3] == second[:3] else f"{first[:3]}\t1\t{second[:3]}\t2"
        for first, second in pairs
    ]


LISTS = {
    "LFW, same first": ["20", *lfw(SAME), *lfw(DIFFERENT)],
    "LFW, different first": ["20", *lfw(DIFFERENT), *lfw(SAME)],
    "AgeDB, same first": [*agedb(SAME, 1), *agedb(DIFFERENT, 0)],
    "AgeDB, different first": [*agedb(DIFFERENT, -1), *agedb(SAME, 1)],
    "AgeDB, in turns": [
        line for both in zip(agedb(SAME, 1), agedb(DIFFERENT, 0), strict=True) for line in both
    ],
    "CPLFW, same first": [*calfw(SAME, [1] * 20), *calfw(DIFFERENT, [0] * 20)],
    "CPLFW, different first": [*calfw(DIFFERENT, [0] * 20), *calfw(SAME, [1] * 20)],
    "CALFW": [*calfw(SAME, [n // 2 + 1 for n in range(20)]), *calfw(DIFFERENT, [0] * 20)],
}


@pytest.mark.parametrize("form", LISTS)
def test_every_fold_has_both_kinds_and_a_constant_is_right_in_half(
    tmp_path: Path, images: Path, form: str
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(LISTS[form]))
    pairs = open_verification(tmp_path / "list.txt", images)
    assert (len(pairs), pairs.folds) == (40, 10)
    for kind in (pairs.same, ~pairs.same):
        assert pairs.fold[kind].tolist() == np.repeat(np.arange(10), 2).tolist()
    result = verify(np.ones(40), pairs.same, pairs.fold)
    assert (result.accuracy, result.accuracy_std) == (0.5, 0.0)
    # Whatever keeps the pairs keeps their folds.
    for name in ("set.bin", "set.zip", "folder"):
        convert(images, tmp_path / name, pairs=tmp_path / "list.txt", encoding=Encoding())
        where = tmp_path / name
        read = (
            open_verification(where)
            if where.is_file()
            else open_verification(where / "pairs.txt", where)
        )
        assert read.fold.tolist() == pairs.fold.tolist(), name


def test_the_numbers_of_calfw_are_folds(tmp_path: Path, images: Path) -> None:
    labels = [3, 1, 1, 2, 2, 2, 3, 3, 3, 3] * 2
    (tmp_path / "list.txt").write_text(
        "\n".join([*calfw(DIFFERENT, [0] * 20), *calfw(SAME, labels)])
    )
    pairs = open_verification(tmp_path / "list.txt", images)
    assert (pairs.fold[pairs.same] + 1).tolist() == labels
    assert pairs.fold[~pairs.same].tolist() == contiguous_folds(20, 3).tolist()
    with pytest.raises(ValueError, match=r"keep it as \.zip"):
        convert(images, tmp_path / "folder", pairs=tmp_path / "list.txt", encoding=Encoding())
    convert(images, tmp_path / "set.zip", pairs=tmp_path / "list.txt", encoding=Encoding())
    assert open_verification(tmp_path / "set.zip").fold.tolist() == pairs.fold.tolist()


def test_folds_of_one_kind_that_former_versions_wrote_are_formed_anew(
    tmp_path: Path, images: Path
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(LISTS["AgeDB, same first"]))
    pairs = open_verification(tmp_path / "list.txt", images)
    written = replace(pairs, fold=contiguous_folds(40, 10))
    write_container(tmp_path / "old.zip", written)
    assert open_verification(tmp_path / "old.zip").fold.tolist() == pairs.fold.tolist()


def test_labels_of_one_pair_each_are_no_folds(tmp_path: Path, images: Path) -> None:
    lines = [*calfw(SAME, list(range(1, 21))), *calfw(DIFFERENT, [0] * 20)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert open_verification(tmp_path / "list.txt", images).folds == 10


def test_a_fourth_column_has_the_folds(tmp_path: Path, images: Path) -> None:
    lines = [*agedb(SAME, 1), *agedb(DIFFERENT, 0)]
    numbers = [7, 3, 3, 5] * 10
    told = [f"{line} {number}" for line, number in zip(lines, numbers, strict=True)]
    (tmp_path / "list.txt").write_text("\n".join(told))
    pairs = open_verification(tmp_path / "list.txt", images)
    assert pairs.fold.tolist() == [{3: 0, 5: 1, 7: 2}[number] for number in numbers]
    (tmp_path / "list.txt").write_text("\n".join(f"{line} 1" for line in lines))
    assert open_verification(tmp_path / "list.txt", images).folds == 10  # one fold is none
    for wrong in (lines[0], f"{lines[0]} x", f"{lines[0]} -1", f"{lines[0]} 1 1"):
        (tmp_path / "list.txt").write_text("\n".join([told[0], wrong]))
        with pytest.raises(ValueError, match="2: expected 'image1 image2 label fold'"):
            open_verification(tmp_path / "list.txt", images)


def test_lfws_order_gives_contiguous_folds(tmp_path: Path) -> None:
    # InsightFace's files: ten times 300 pairs of one person, then 300 of two.
    same = np.tile(np.repeat([True, False], 300), 10)
    names = ("a",) * 6000
    write_bin(tmp_path / "lfw.bin", Pairs(Memory({"a": b"x"}), names, names, same, np.zeros(6000)))
    read = open_verification(tmp_path / "lfw.bin")
    assert read.fold.tolist() == np.repeat(np.arange(10), 600).tolist()


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_usual_folds_are_all_there(flags: list[bool]) -> None:
    same = np.array(flags)
    fold = usual_folds(same)
    least = min(same.sum(), (~same).sum())
    assert set(fold.tolist()) == set(range(fold.max() + 1))
    assert fold.max() + 1 == min(10, least if least > 1 else len(same))
    if least > 1:
        for kind in (same, ~same):
            sizes = np.bincount(fold[kind])
            assert sizes.min() >= 1
            assert np.ptp(sizes) <= 1


def test_folds_of_both_kinds_are_of_the_number_asked_for() -> None:
    same = np.arange(12) < 4
    assert folds_of_both_kinds(same, 4).tolist() == [0, 1, 2, 3, 0, 0, 1, 1, 2, 2, 3, 3]


@needs_faces
def test_a_model_that_tells_nothing_apart_is_right_in_half_of_lfws_own_list() -> None:
    pairs = open_verification(FACES / "lfw112" / "pairsDevTest.txt", FACES / "lfw112" / "test")
    model = open_embedder(FACES / "faults" / "constant.onnx")
    found = score_pairs(pairs, embed_pairs(model, pairs))
    result = verify(found.scores, pairs.same, pairs.fold)
    assert (result.accuracy, result.accuracy_std, result.best_accuracy) == (0.5, 0.0, 0.5)
