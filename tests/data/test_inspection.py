"""Inspection: what is broken, what occurs twice, what two sets share."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing_faces import COUNTS, write_faces
from PIL import Image
from real_faces import FACES, needs_faces

from marginface.data.inspection import Inspection, equal_rows, inspect, shared
from marginface.data.listing import listing, open_set
from marginface.data.packing.conversion import convert
from marginface.data.packing.encoding import Encoding
from marginface.errors import MarginfaceError
from marginface.tables.inspection import compare, findings, histogram_table, to_json


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_faces(tmp_path / "faces")


def look(path: Path) -> Inspection:
    return inspect(listing(open_set(path)))


def as_png(path: Path) -> bytes:
    written = BytesIO()
    Image.open(path).convert("RGB").save(written, "png", compress_level=1)
    return written.getvalue()


@pytest.mark.parametrize("name", ["faces", "a.rec", "a.tfrecord"])
def test_every_kind_of_training_set_is_counted(faces: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "faces":
        convert(faces, path, encoding=Encoding())
    found = look(path)
    assert found.listing.count == sum(COUNTS.values())
    assert found.listing.identities == tuple(COUNTS)
    assert found.images_an_identity.tolist() == [*COUNTS.values()]
    assert found.formats == {"png": 18, "jpeg": 14}
    assert found.sizes == {(12, 12): 32}
    assert (found.broken, found.duplicates) == ([], [])


@pytest.mark.parametrize("name", ["a.bin", "a.zip"])
def test_verification_sets_are_counted(faces: Path, tmp_path: Path, name: str) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1\nann\t1\t2\nann\t1\tbob\t1\n")
    convert(faces, tmp_path / name, pairs=pairs, encoding=Encoding())
    found = look(tmp_path / name)
    assert found.listing.count == 3
    assert found.formats == {"png": 2, "jpeg": 1}
    values = to_json([found], {})["sets"][0]
    assert (values["same_pairs"], values["different_pairs"]) == (1, 1)
    leak = shared(look(faces), found)
    assert len(leak.images) == 3
    assert leak.images[0][0] == "ann/ann_0001.png"
    assert leak.identities == (["ann", "bob"] if name == "a.zip" else None)


def test_broken_images_are_named_with_the_reason(faces: Path) -> None:
    broken = faces / "ann" / "ann_0003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (faces / "bob" / "none.jpg").write_text("no image")
    found = look(faces)
    assert [name for name, _ in found.broken] == ["ann/ann_0003.png", "bob/none.jpg"]
    assert found.broken[1][1].startswith("cannot read the image: not an image")
    assert len(found.hashes) == len(found.whole) == sum(COUNTS.values()) - 1
    assert 9 not in found.whole


def test_duplicates_are_found_however_they_are_encoded(faces: Path) -> None:
    (faces / "ann" / "again.png").write_bytes(as_png(faces / "ann" / "ann_0002.jpg"))
    (faces / "dee" / "other.png").write_bytes((faces / "bob" / "bob_0001.png").read_bytes())
    (faces / "bob" / "broken.png").write_bytes(b"one")
    (faces / "dee" / "broken.png").write_bytes(b"one")
    found = look(faces)
    assert [found.names(group) for group in found.duplicates] == [
        ["ann/again.png", "ann/ann_0002.jpg"],
        ["bob/bob_0001.png", "dee/other.png"],
    ] or [found.names(group) for group in found.duplicates] == [
        ["bob/bob_0001.png", "dee/other.png"],
        ["ann/again.png", "ann/ann_0002.jpg"],
    ]
    assert [found.names(group) for group in found.mislabelled] == [
        ["bob/bob_0001.png", "dee/other.png"]
    ]


def test_the_same_pixels_in_another_shape_are_another_image(tmp_path: Path) -> None:
    for name, size in [("a", (4, 6)), ("b", (6, 4))]:
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / "set" / name / "1.png")
    assert look(tmp_path / "set").duplicates == []


def test_leakage_is_named_by_identity_and_by_pixels(faces: Path, tmp_path: Path) -> None:
    other = write_faces(tmp_path / "other", {"zed": 2, "bob": 1}, side=9)
    for root in (faces, other):  # what occurs twice in one set is in no other for that
        (root / "bob" / "twice.png").write_bytes((root / "bob" / "bob_0001.png").read_bytes())
    (other / "zed" / "leak.png").write_bytes(as_png(faces / "cid" / "cid_0001.png"))
    found = [look(faces), look(other)]
    both = compare(found)[0, 1]
    assert both.identities == ["bob"]
    assert both.images == [["cid/cid_0001.png", "zed/leak.png"]]
    lines = dict(findings(["faces", "other"], found, compare(found)))
    assert lines["faces, other: shared images"] == ["cid/cid_0001.png = zed/leak.png"]
    values = to_json(found, compare(found))["shared"]
    assert values[0]["sets"] == [str(faces), str(other)]


def test_numbers_of_a_record_file_are_no_names(faces: Path, tmp_path: Path) -> None:
    convert(faces, tmp_path / "a.rec", encoding=Encoding())
    (tmp_path / "a.lst").unlink()
    numbered = look(tmp_path / "a.rec")
    assert numbered.listing.identities is None
    assert numbered.images_an_identity.tolist() == [*COUNTS.values()]
    leak = shared(numbered, look(faces))
    assert leak.identities is None
    assert len(leak.images) == sum(COUNTS.values())


def test_identities_without_images_are_named(faces: Path) -> None:
    (faces / "nobody").mkdir()
    assert look(faces).listing.empty == ("nobody",)


def test_the_histogram_counts_every_identity_once(faces: Path) -> None:
    table = histogram_table(["faces"], [look(faces)])
    labels, counts = ([*column.cells] for column in table.columns)
    assert [*zip(labels, counts, strict=True)] == [
        ("1", "1"),
        ("2", "0"),
        ("3 to 4", "1"),
        ("5 to 9", "2"),
        ("10 to 19", "1"),
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_equal_rows_are_those_that_are_equal(rows: list[tuple[int, int]]) -> None:
    found = equal_rows(np.array(rows, np.uint64).reshape(-1, 2))
    expected = [[i for i, row in enumerate(rows) if row == each] for each in {*rows}]
    groups = [group.tolist() for group in found]
    assert sorted(groups) == sorted(group for group in expected if len(group) > 1)


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path, why in [(tmp_path / "notes.txt", "another kind"), (tmp_path / "no", "no such file")]:
        with pytest.raises(MarginfaceError, match=why):
            open_set(path)


@needs_faces
def test_real_train_and_test_share_nobody(tmp_path: Path) -> None:
    test = look(FACES / "lfw112" / "test")
    assert (test.listing.count, len(test.images_an_identity)) == (1549, 963)
    assert test.sizes == {(112, 112): 1549}
    train = listing(open_set(FACES / "lfw112" / "train"))
    assert not {*train.identities} & {*test.listing.identities}
    convert(
        FACES / "lfw112" / "test",
        tmp_path / "dev.bin",
        pairs=FACES / "lfw112" / "pairsDevTest.txt",
        encoding=Encoding(),
    )
    assert len(shared(test, look(tmp_path / "dev.bin")).images) == 1549
