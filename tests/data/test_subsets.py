"""Splits and subsets: disjoint, drawn alike by the same seed, linked or packed; pairs are right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_faces import contents, write_faces

from marginface.data import linking
from marginface.data.formats.folder import open_folder
from marginface.data.listing import open_set
from marginface.data.opening import open_images
from marginface.data.packing.conversion import convert
from marginface.data.packing.encoding import Encoding
from marginface.data.subsets import choose, split, write_part, write_split
from marginface.data.verification.folds import contiguous_folds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pair_drawing import draw_pairs
from marginface.data.verification.pair_folder import pair_list
from marginface.data.verification.pair_lists import read_pair_list
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces")


class Labels:
    """Labelled images of which only the labels matter."""

    root = Path("set")

    def __init__(self, counts: list[int]) -> None:
        self.labels = np.repeat(np.arange(len(counts)), counts)
        self.identities = tuple(map(str, range(len(counts))))

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.labels[index]}/{index}.png"


def refusal(function, *arguments, **options) -> str:
    with pytest.raises(MarginfaceError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=20), st.floats(0.05, 0.95), st.integers(0, 9)
)
def test_a_split_by_identity_shares_none(counts: list[int], fraction: float, seed: int) -> None:
    images = Labels(counts)
    expected = max(round(fraction * len(counts)), 1)
    if expected == len(counts):
        assert "choose a smaller fraction" in refusal(split, images, fraction, seed=seed)
        return
    train, held_out = split(images, fraction, seed=seed)
    assert sorted([*train, *held_out]) == [*range(len(images))]
    assert not {*images.labels[train]} & {*images.labels[held_out]}
    assert len({*images.labels[held_out]}) == expected


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20), st.floats(0.05, 0.95), st.integers(0, 9)
)
def test_a_split_by_image_keeps_every_identity(
    counts: list[int], fraction: float, seed: int
) -> None:
    images = Labels(counts)
    wanted = max(round(fraction * len(images)), 1)
    if wanted > len(images) - len(counts):
        assert "choose a smaller fraction" in refusal(split, images, fraction, by="image")
        return
    train, held_out = split(images, fraction, by="image", seed=seed)
    assert sorted([*train, *held_out]) == [*range(len(images))]
    assert {*images.labels[train]} == {*images.labels}
    assert len(held_out) == wanted


def test_the_seed_decides_what_is_drawn() -> None:
    images = Labels([3] * 50)
    one, same, other = (split(images, 0.3, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert one == same != other
    one, same, other = (
        choose(images, identities=9, max_images=2, seed=seed).tolist() for seed in (1, 1, 2)
    )
    assert one == same != other


def test_fractions_that_leave_a_part_empty() -> None:
    assert "between 0 and 1" in refusal(split, Labels([2, 2]), 1.0)
    assert "hold out 2 of the 2 identities of set: 1 at most" in refusal(split, Labels([2, 2]), 0.9)
    assert "1 of the 1 identities of set: 0 at most" in refusal(split, Labels([9]), 0.1)
    assert "expected identity or image" in refusal(split, Labels([2, 2]), 0.5, by="person")


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_a_subset_has_what_was_asked_for(
    counts: list[int], least: int, most: int, identities: int
) -> None:
    images = Labels(counts)
    enough = {label for label, count in enumerate(counts) if count >= least}
    options = {"min_images": least, "max_images": most, "identities": identities}
    if len(enough) < identities:
        assert f"has {len(enough)} identities" in refusal(choose, images, **options)
        return
    chosen = choose(images, **options)
    found = Counter(images.labels[chosen].tolist())
    assert (np.diff(chosen) > 0).all()
    assert len(found) == identities
    assert {*found} <= enough
    assert all(found[label] == min(counts[label], most) for label in found)


def test_a_table_of_clean_says_what_is_kept(faces: Path, tmp_path: Path) -> None:
    images = open_folder(faces)
    table = tmp_path / "clean.csv"
    rows = [f"{path},{path.split('/')[0]},1.0,{int('0003' not in path)}" for path in images.paths]
    table.write_text("\n".join(["path,identity,angle,kept", *rows]) + "\n")
    chosen = choose(images, kept=table, min_images=3)
    kept = [images.name(number) for number in chosen]
    assert {name.split("/")[0] for name in kept} == {"Al Bo", "ann", "dee"}  # bob has two left
    assert not any("0003" in name for name in kept)
    assert len(kept) == 6 + 11 + 8
    table.write_text("path,identity,angle,kept\nann/none.png,ann,1.0,1\n")
    assert "no image 'ann/none.png'" in refusal(choose, images, kept=table)
    table.write_text("path,identity,angle,kept\nann/ann_0001.png,ann,1.0,maybe\n")
    assert "clean.csv:2: expected" in refusal(choose, images, kept=table)
    table.write_text("a,b\n")
    assert "no table of" in refusal(choose, images, kept=table)
    table.write_text("path,identity,angle,kept\nann/ann_0001.png,ann,1.0,0\n")
    assert "has 0 identities" in refusal(choose, images, kept=table)


def test_a_folder_of_a_folder_has_links(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_folder(faces)
    chosen = np.arange(5, 25)
    made = write_part(images, chosen, tmp_path / "part")
    assert (made.images, made.identities) == (20, 5)
    names = [images.name(number) for number in chosen]
    assert [*contents(tmp_path / "part")] == names
    assert all((tmp_path / "part" / name).samefile(faces / name) for name in names)
    assert "exists already" in refusal(write_part, images, chosen, tmp_path / "part")
    assert "among the images" in refusal(write_part, images, chosen, faces / "part")

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(linking.os, "link", refuse)
    write_part(images, chosen, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(tmp_path / "part")
    assert not (tmp_path / "copy" / names[0]).samefile(faces / names[0])


@pytest.mark.parametrize("name", ["part.rec", "part.tfrecord"])
def test_a_part_of_any_set_in_any_format(faces: Path, tmp_path: Path, name: str) -> None:
    convert(faces, tmp_path / "all.rec", encoding=Encoding())
    images = open_set(tmp_path / "all.rec")
    chosen = choose(images, min_images=4, max_images=4)
    write_part(images, chosen, tmp_path / name)
    found = open_images(tmp_path / name, size=(12, 12))
    assert found.identities == ("Al Bo", "ann", "dee")
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for index, number in enumerate(chosen.tolist()):
        assert found.encoded(index) == images.encoded(number)


def test_a_split_with_pairs_is_ready_to_validate_on(faces: Path, tmp_path: Path) -> None:
    write_faces(faces, {f"p{number}": 4 for number in range(40)})
    images = open_folder(faces)
    parts = split(images, 0.6)
    pairs = draw_pairs(images, parts[1], 40)
    made = write_split(images, parts, tmp_path / "out", pairs=pairs)
    assert [summary.identities for summary in made] == [18, 27]
    train, validation = (contents(tmp_path / "out" / name) for name in ("train", "validation"))
    assert train | validation == contents(faces)
    read = read_pair_list(tmp_path / "out" / "pairs.txt", tmp_path / "out" / "validation")
    assert (read.first, read.second, read.folds) == (pairs.first, pairs.second, 10)
    np.testing.assert_array_equal(read.same, pairs.same)


def test_a_split_of_a_record_file_is_of_record_files(faces: Path, tmp_path: Path) -> None:
    write_faces(faces, {f"p{number}": 3 for number in range(10)})
    convert(faces, tmp_path / "all.tfrecord", encoding=Encoding())
    images = open_set(tmp_path / "all.tfrecord")
    parts = split(images, 0.7)
    pairs = draw_pairs(images, parts[1], 20)
    write_split(images, parts, tmp_path / "out", pairs=pairs)
    names = [path.name for path in sorted((tmp_path / "out").iterdir())]
    assert names == [".marginface", "pairs.zip", "train.tfrecord", "validation.tfrecord"]
    found = open_verification(tmp_path / "out" / "pairs.zip")
    assert (found.first, found.second) == (pairs.first, pairs.second)
    assert found.images.encoded(found.first[0]) == (faces / found.first[0]).read_bytes()


def test_a_split_that_fails_leaves_nothing(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(linking, "_link", full)
    images = open_folder(faces)
    with pytest.raises(OSError, match="No space left"):
        write_split(images, split(images, 0.4), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=40), st.integers(1, 5), st.integers(0, 9))
def test_drawn_pairs_are_right(counts: list[int], size: int, seed: int) -> None:
    images = Labels(counts)
    every = np.arange(len(images))
    try:
        pairs = draw_pairs(images, every, 20 * size, seed=seed)
    except MarginfaceError as error:
        message = str(error)
        most = int(message.split(" allow ")[1].split()[0])
        size = min(size - 1, most // 20)  # so many can be drawn then
        if not size:
            return
        pairs = draw_pairs(images, every, 20 * size, seed=seed)
    one = [int(name.split("/")[0]) for name in pairs.first]
    other = [int(name.split("/")[0]) for name in pairs.second]
    np.testing.assert_array_equal(np.equal(one, other), pairs.same)
    drawn = [frozenset(pair) for pair in zip(pairs.first, pairs.second, strict=True)]
    assert len({*drawn}) == len(drawn) == 20 * size
    assert all(len(pair) == 2 for pair in drawn)
    fold = pairs.fold
    assert pairs.folds == 10
    assert (np.bincount(fold[pairs.same]) == size).all()
    if len(counts) >= 20 and sum(count > 1 for count in counts) >= 10:
        of_person: dict[int, set[int]] = {}
        for person, where in [*zip(one, fold, strict=True), *zip(other, fold, strict=True)]:
            of_person.setdefault(person, set()).add(int(where))
        assert all(len(folds) == 1 for folds in of_person.values())


def test_as_many_pairs_as_the_message_tells_can_be_drawn() -> None:
    images = Labels([3] * 30)
    every = np.arange(len(images))
    message = refusal(draw_pairs, images, every, 20_000)
    most = int(message.split(" allow ")[1].split()[0].replace(",", ""))
    assert most == 180
    assert len(draw_pairs(images, every, most)) == most
    assert "allow 180" in refusal(draw_pairs, images, every, most + 20)
    assert "multiple of 20" in refusal(draw_pairs, images, every, 30)
    assert "multiple of 20" in refusal(draw_pairs, images, every, 0)


def test_persons_are_drawn_evenly() -> None:
    images = Labels([100, *[3] * 29])
    pairs = draw_pairs(images, np.arange(len(images)), 60, seed=0)
    persons = Counter(
        name.split("/")[0] for name, same in zip(pairs.first, pairs.same, strict=True) if same
    )
    assert max(persons.values()) == 1


def pairs_of(first: list[str], second: list[str], same: list[bool], folds: int) -> Pairs:
    fold = contiguous_folds(len(same), folds)
    return Pairs(None, tuple(first), tuple(second), np.array(same), fold)


def list_alone(pairs: Pairs) -> str:
    """Return the list of pairs in a folder that has no other images."""
    return pair_list(pairs, {*pairs.first, *pairs.second})


def test_a_list_of_pairs_has_the_form_of_lfw_where_that_fits() -> None:
    names = ["a/a_0001.jpg", "a/a_0002.jpg", "b b/b b_12345.png"]
    fitting = pairs_of([names[0], names[0]] * 2, [names[1], names[2]] * 2, [True, False] * 2, 2)
    lines = ["a\t1\t2", "a\t1\tb b\t12345"] * 2
    assert list_alone(fitting).splitlines() == ["2\t1", *lines]
    one_split = pairs_of([names[0]] * 2, [names[1], names[2]], [True, False], 2)
    assert list_alone(one_split).splitlines() == ["1", *lines[:2]]
    uneven = pairs_of([names[0]], [names[1]], [True], 1)
    assert list_alone(uneven) == "a/a_0001.jpg\ta/a_0002.jpg\t1\n"
    lying = pairs_of([names[0]] * 2, [names[1], names[2]], [False, True], 2)
    assert list_alone(lying).splitlines()[0] == "a/a_0001.jpg\ta/a_0002.jpg\t0"


def test_folds_that_no_list_tells_are_refused() -> None:
    with pytest.raises(MarginfaceError, match=r"keep it as \.zip"):
        list_alone(
            Pairs(
                Labels([1]),
                ("x", "x", "x", "x"),
                ("y", "z", "u", "v"),
                np.array([True, False, True, False]),
                np.array([0, 1, 1, 1]),
            )
        )
    first, second = (
        ["a/a_0001.jpg"] * 4,
        [f"{name}_0002.jpg" for name in ("a/a", "a/a", "b/b", "c/c")],
    )
    sorted_folds = Pairs(
        Labels([1]), first, second, np.array([True, True, False, False]), np.array([0, 0, 1, 1])
    )
    with pytest.raises(MarginfaceError, match=r"folds that no list of its pairs can tell \(2\)"):
        list_alone(sorted_folds)


@pytest.mark.parametrize("name", ["a.bin", "a.zip"])
def test_a_verification_set_goes_to_a_folder_and_back(
    faces: Path, tmp_path: Path, name: str
) -> None:
    listed = tmp_path / "pairs.txt"
    listed.write_text("2\nann\t1\t2\nann\t3\t4\nann\t1\tbob\t1\nann\t1\tcid\t1\n")
    convert(faces, tmp_path / name, pairs=listed, encoding=Encoding())
    convert(tmp_path / name, tmp_path / "folder", encoding=Encoding())
    again = tmp_path / f"again{name}"
    convert(tmp_path / "folder", again, pairs=tmp_path / "folder/pairs.txt", encoding=Encoding())
    assert again.read_bytes() == (tmp_path / name).read_bytes()
    images = contents(tmp_path / "folder")
    lines = images.pop("pairs.txt").decode()
    used = {"ann/ann_0001.png", "ann/ann_0002.jpg", "ann/ann_0003.png", "ann/ann_0004.jpg"}
    used |= {"bob/bob_0001.png", "cid/cid_0001.png"}
    assert sorted(images.values()) == sorted((faces / each).read_bytes() for each in used)
    if name == "a.zip":
        assert {*images} == used
        assert lines == listed.read_text()


def test_a_link_to_nothing_is_named(faces: Path, tmp_path: Path) -> None:
    (faces / "ann" / "gone.png").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError) as caught:
        linking.link_images(faces, ["ann/ann_0001.png", "ann/gone.png"], tmp_path / "out")
    assert caught.value.filename == str(faces / "ann" / "gone.png")
    assert not (tmp_path / "out").exists()
