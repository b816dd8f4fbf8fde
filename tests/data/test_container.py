"""The container of a verification set: a zip of images and a table of pairs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_sets import content, pairs_of, refusal

from marginface.data.verification.container import read_container, write_container
from marginface.data.verification.folds import usual_folds
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError


def test_a_container_keeps_everything(tmp_path):
    pairs = pairs_of(7, folds=3)
    write_container(tmp_path / "some.zip", pairs)
    read = open_verification(tmp_path / "some.zip")
    assert content(read) == content(pairs)
    assert (read.first, read.second) == (pairs.first, pairs.second)
    assert (read.folds, read.name) == (3, "some")
    write_container(tmp_path / "again.zip", read)
    assert (tmp_path / "some.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()


def container(
    path: Path,
    table: str = "first,second,same,fold\na.jpg,b.jpg,1,1\na.jpg,c.jpg,0,2\n",
    names: tuple[str, ...] = ("images/a.jpg", "images/b.jpg", "images/c.jpg"),
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("pairs.csv", table)
        for name in names:
            archive.writestr(name, b"image " * 1000)
    return path


def test_a_container_that_was_made_by_hand(tmp_path):
    read = open_verification(container(tmp_path / "a.zip"))
    assert (read.second, read.same.tolist(), read.folds) == (("b.jpg", "c.jpg"), [True, False], 2)


HEAD = "first,second,same,fold\n"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
        ({"names": ()}, "pairs.csv:2: no image 'a.jpg'"),
        ({"names": ("images/a.jpg", "../../b.jpg")}, "'../../b.jpg' is no name in a folder"),
        ({"names": ("images/a.jpg", "images/../../b.jpg")}, "is no name in a folder"),
        ({"names": ("/etc/passwd",)}, "'/etc/passwd' is no name in a folder"),
        ({"names": ("C:\\x.jpg",)}, "is no name in a folder"),
        ({"names": ("images/..\\x.jpg",)}, "is no name in a folder"),
        ({"names": ("images/\x1b[31m.jpg",)}, "is no name in a folder"),
        ({"table": ""}, "pairs.csv must begin with first,second,same,fold"),
        ({"table": HEAD}, "pairs.csv must begin with first,second,same,fold and have pairs"),
        ({"table": HEAD + "a.jpg,b.jpg,1\n"}, "pairs.csv:2: expected first,second,same,fold"),
        ({"table": HEAD + "a.jpg,b.jpg,yes,1\n"}, "pairs.csv:2: expected"),
        ({"table": HEAD + "a.jpg,b.jpg,1,²\n"}, "pairs.csv:2: expected"),
        ({"table": HEAD + "a.jpg,b.jpg,1,9999999999\n"}, "pairs.csv:2: expected"),
        ({"table": HEAD + "a.jpg,b.jpg,1,0\n"}, "folds are not numbered"),
        ({"table": HEAD + "a.jpg,b.jpg,1,2\na.jpg,b.jpg,1,3\n"}, "folds are not numbered"),
        ({"table": HEAD + "a.jpg,b.jpg,1,999999999\n"}, "folds are not numbered"),
        ({"table": HEAD + "a.jpg,../b.jpg,1,1\n"}, "no image '../b.jpg'"),
        ({"table": HEAD + 'a.jpg,"b.jpg,1,1\n'}, "unexpected end of data"),
        ({"table": HEAD + "a" * 200_000 + ",b.jpg,1,1\n"}, "field larger than field limit"),
    ],
)
def test_what_a_container_must_not_have(tmp_path, values, reason):
    message = refusal(container(tmp_path / "a.zip", **values))
    assert reason in message
    assert message.startswith(str(tmp_path / "a.zip"))
    assert message.count(" expected ") == 1 or ": no image " in message


@pytest.mark.parametrize("name", ["/z.jpg", "a/../z.jpg", "../z.jpg", ""])
def test_a_name_that_does_not_do_is_refused_before_an_image_is_read(tmp_path, name):
    class Unread:
        root = tmp_path / "images"

        def encoded(self, name: str) -> bytes:
            raise AssertionError(name)

    same = np.array([True, False])
    pairs = Pairs(Unread(), ("a/2.jpg",) * 2, (name, "b/1.jpg"), same, usual_folds(same))
    with pytest.raises(MarginfaceError, match=r"images: '.*' is no name in a folder; .*identity"):
        write_container(tmp_path / "a.zip", pairs)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_there_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        container(tmp_path / "a.zip", names=("images/a.jpg",) * 2)
    assert "two entries have one name" in refusal(tmp_path / "a.zip")


@pytest.mark.parametrize("sizes", [b"\xf0\xff\xff\xff" * 2, b"\xf0\xff\xff\x00" * 2])
def test_sizes_that_the_file_does_not_have_are_refused_before_it_is_read(
    tmp_path, monkeypatch, sizes
):
    path = container(tmp_path / "a.zip")
    whole = path.read_bytes()
    at = whole.index(b"PK\x01\x02") + 20  # of the first entry in the directory
    path.write_bytes(whole[:at] + sizes + whole[at + 8 :])
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    assert "larger than the file" in refusal(path)


def test_entries_that_lie_on_one_another_are_refused(tmp_path):
    path = container(tmp_path / "a.zip")
    whole = bytearray(path.read_bytes())
    directory = whole.index(b"PK\x01\x02")
    entries = [directory]
    while (at := whole.find(b"PK\x01\x02", entries[-1] + 1)) > 0:
        entries.append(at)
    with zipfile.ZipFile(path) as archive:
        sizes = [entry.file_size for entry in archive.infolist()]
    assert len(entries) == 4
    for entry in entries[1:]:  # all the whole file
        whole[entry + 20 : entry + 28] = (sum(sizes)).to_bytes(4, "little") * 2
    path.write_bytes(bytes(whole))
    assert "larger than the file" in refusal(path)


def test_a_damaged_image_is_found_by_its_checksum(tmp_path):
    path = container(tmp_path / "a.zip")
    damaged = path.read_bytes().replace(b"image image", b"image imagE", 1)
    path.write_bytes(damaged)
    pairs = read_container(path)
    with pytest.raises(MarginfaceError, match=r"image a.jpg is damaged: .*CRC"):
        pairs.images.encoded("a.jpg")
    assert pairs.images.encoded("b.jpg") == b"image " * 1000


def test_a_container_cut_short_anywhere_is_refused(tmp_path):
    path = tmp_path / "some.zip"
    write_container(path, pairs_of(2, 2))
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(MarginfaceError, match="set"):
            read_container(path)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.data())
def test_a_changed_container_gives_pairs_or_the_librarys_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    write_container(path, pairs_of(2, 2))
    changed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path.write_bytes(bytes(changed))
    try:
        content(read_container(path))
    except MarginfaceError as error:
        assert str(path) in str(error)  # noqa: PT017 - or it is read, and nothing is to be seen
