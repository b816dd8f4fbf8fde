"""Writing .rec files: what stands in them and beside them, and what a failure leaves."""

from pathlib import Path

import numpy as np
import pytest
from real_faces import FACES, needs_faces
from record_files import (
    header,
    pack,
    part,
    png,
    write,
)

from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.opening import open_images
from marginface.data.packing import training_sets
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError


@pytest.fixture
def folder(tmp_path):
    for identity, count in (("ann", 3), ("bob", 1), ("cé", 2)):
        for number in range(count):
            path = tmp_path / "faces" / identity / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(50 * number + count))
    return open_folder(tmp_path / "faces", OpenOptions(check=True))


def test_a_packed_folder_is_the_same_set(folder, tmp_path):
    pack(folder.root, tmp_path / "a.rec")
    images = open_images(tmp_path / "a.rec")
    assert images.identities == folder.identities
    assert images.labels.tolist() == folder.labels.tolist()
    assert images.fingerprint() == folder.fingerprint()
    for number in range(len(folder)):
        assert images.name(number) == folder.name(number)
        assert images.encoded(number) == folder.encoded(number)


def test_what_is_written_is_insightfaces_layout_by_hand(folder, tmp_path):
    pack(folder.root, tmp_path / "a.rec")
    encoded = [folder.encoded(number) for number in range(6)]
    labels = [0, 0, 0, 1, 2, 2]
    expected = {
        key: part(0, header(key, float(label)) + file)
        for key, (label, file) in enumerate(zip(labels, encoded, strict=True), 1)
    }
    for key, ends in ((7, (1, 4)), (8, (4, 5)), (9, (5, 7)), (0, (7, 10))):
        expected[key] = part(0, header(key, [float(end) for end in ends]))
    write(tmp_path / "b.rec", expected)
    assert (tmp_path / "a.rec").read_bytes() == (tmp_path / "b.rec").read_bytes()
    assert (tmp_path / "a.idx").read_text() == (tmp_path / "b.idx").read_text()
    assert (tmp_path / "property").read_text() == "3,112,112\n"
    assert (tmp_path / "a.lst").read_text(encoding="utf-8").splitlines()[3:5] == [
        "4\t1\tbob/0.png",
        "5\t2\tcé/0.png",
    ]


def test_the_property_of_another_rec_stays(folder, tmp_path):
    (tmp_path / "other.rec").write_bytes(b"")
    (tmp_path / "property").write_text("9,9,9\n")
    pack(folder.root, tmp_path / "a.rec")
    assert (tmp_path / "property").read_text() == "9,9,9\n"


@pytest.mark.parametrize("name", ["0.png", "a/b/0.png", "../0.png", "a/.0.png"])
def test_a_name_that_readers_refuse_is_not_written(folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(ImageFolder, "name", lambda *_: name)
    with pytest.raises(MarginfaceError, match="IDENTITY/IMAGE"):
        training_sets.pack(folder, tmp_path / "a.rec")
    assert list(tmp_path.iterdir()) == [folder.root]


def test_the_rec_appears_last_and_not_without_the_rest(folder, tmp_path, monkeypatch):
    renamed = []
    replace = Path.replace

    def note(self, target):
        if target.name == "a.idx":
            raise OSError(28, "No space left on device", str(self))
        renamed.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", note)
    with pytest.raises(OSError, match="No space left"):
        pack(folder.root, tmp_path / "a.rec")
    assert "a.rec" not in renamed
    assert not (tmp_path / "a.rec").exists()
    assert not list(tmp_path.glob(".*"))


@needs_faces
def test_real_faces_come_back_byte_for_byte(tmp_path):
    folder = open_folder(FACES / "lfw112" / "test", OpenOptions(check=True))
    pack(folder.root, tmp_path / "lfw.rec")
    images = open_images(tmp_path / "lfw.rec")
    assert images.fingerprint() == folder.fingerprint()
    for number in range(0, len(folder), 7):
        assert images.encoded(number) == folder.encoded(number)
        np.testing.assert_array_equal(images[number][0], folder[number][0])
