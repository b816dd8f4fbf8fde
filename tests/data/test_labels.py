"""Labels at the edge of what a file's numbers tell apart: refused, reading and writing."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from packing_faces import COUNTS, contents, write_faces
from record_files import colours, im2rec, insightface, names, png, refusal

from marginface.data.formats.example import ImageExample, pack_example
from marginface.data.formats.folder import open_folder
from marginface.data.formats.recordio import RecordFile, pack_labelled
from marginface.data.formats.tfrecord import frame
from marginface.data.opening import open_images
from marginface.data.packing import packed_records
from marginface.data.packing.training_sets import pack
from marginface.errors import MarginfaceError

EDGE = 2**24  # in float32, EDGE + 1 is EDGE

INEXACT = [EDGE, EDGE + 1, EDGE + 2, 2**25, 2.0**100, -1.0, -(2.0**24), 0.5, math.nan, math.inf]


@pytest.mark.parametrize("label", INEXACT)
@pytest.mark.parametrize("several", [False, True])
def test_a_rec_with_a_label_that_is_not_one_number_is_refused(tmp_path, label, several):
    own = [float(label), 1.0] if several else float(label)
    path = im2rec(tmp_path / "a.rec", [0, own, 1])
    message = refusal(path)
    assert f"record 1 has the label {np.float32(label)}" in message
    assert "from 0 to 16777215" in message
    assert not (tmp_path / "a.rec.index").exists()


def test_two_identities_do_not_become_one(tmp_path):
    path = insightface(tmp_path / "a.rec", [EDGE - 2, EDGE - 1, EDGE, EDGE + 1])
    assert "record 3 has the label 16777216.0" in refusal(path)


def test_the_last_exact_label_is_taken(tmp_path):
    images = open_images(im2rec(tmp_path / "a.rec", [EDGE - 2, EDGE - 1, 0]))
    assert images.identities == ("0", "16777214", "16777215")


@pytest.mark.parametrize("label", INEXACT)
def test_a_label_that_is_not_one_number_is_not_written(label):
    for given in (label, (1, label), (label, 1)):
        with pytest.raises(MarginfaceError, match=r"record 7 would have the label .* float32"):
            pack_labelled(b"JPEG", 7, given)


def test_ranges_that_float32_cannot_tell_apart_are_not_written(tmp_path, monkeypatch):
    """Glint360K has 17,091,657 images: their own labels are exact, ranges of keys are not."""
    total = sum(COUNTS.values())
    faces = open_folder(write_faces(tmp_path / "faces"))
    monkeypatch.setattr(packed_records, "LARGEST_LABEL", total + len(COUNTS) + 1)
    pack(faces, tmp_path / "ranges.rec")
    monkeypatch.setattr(packed_records, "LARGEST_LABEL", total + len(COUNTS))
    pack(faces, tmp_path / "plain.rec")
    for name, keys in (("ranges", range(total + len(COUNTS) + 1)), ("plain", range(total))):
        path = tmp_path / f"{name}.rec"
        found = [RecordFile(path).labelled(o) for o in RecordFile(path).offsets().tolist()]
        assert sorted(each.key for each in found) == list(keys)
        images = open_images(path, size=(12, 12))
        assert images.fingerprint() == faces.fingerprint()
        assert images.labels.tolist() == faces.labels.tolist()
    first = RecordFile(tmp_path / "plain.rec").labelled(0)
    assert (first.flag, first.key, first.image) == (0, 0, faces.encoded(0))


def test_too_many_identities_for_a_rec_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed_records, "LARGEST_LABEL", 1)
    faces = open_folder(write_faces(tmp_path / "faces"))
    (tmp_path / "new").mkdir()
    with pytest.raises(MarginfaceError, match=r"at most 2 identities; write a \.tfrecord"):
        pack(faces, tmp_path / "new" / "a.rec")
    assert contents(tmp_path / "new") == {}


@pytest.mark.parametrize("label", ["-1", "nan", "0.5", "inf", str(EDGE), "1e30"])
@pytest.mark.parametrize("line", [0, 1])
def test_a_lst_with_another_label_is_refused(tmp_path, label, line):
    path = im2rec(tmp_path / "a.rec", [0, 1, 1])
    labels = ["0", "1", "1"]
    labels[line] = label
    text = io.StringIO()
    for key, own in enumerate(labels):
        text.write(f"{key}\t{own}\tx/{key}.jpg\n")
    (tmp_path / "a.lst").write_text(text.getvalue())
    assert f"no line for record {line} of label {line}" in refusal(path)


def write_tfrecord(path, labels):
    examples = (ImageExample(png(n), label, "", "") for n, label in enumerate(labels))
    path.write_bytes(b"".join(frame(pack_example(each)) for each in examples))
    return path


@pytest.mark.parametrize("label", [-1, -(2**31) - 1, -(2**63)])
def test_a_tfrecord_with_a_negative_label_is_refused(tmp_path, label):
    message = refusal(write_tfrecord(tmp_path / "a.tfrecord", [0, 1, label]))
    assert f"the label is {label}, expected a whole number from 0" in message


def test_a_tfrecord_tells_all_its_labels_apart(tmp_path):
    labels = [EDGE, EDGE + 1, 2**31, 2**31 + 1, 2**53 + 1, 2**53, 2**63 - 1, 2**63 - 2]
    images = open_images(write_tfrecord(tmp_path / "a.tfrecord", labels))
    assert len(images.identities) == len(labels)
    assert [images.identities[label] for label in images.labels] == list(map(str, labels))
    assert colours(images) == list(range(len(labels)))
    pack(images, tmp_path / "a.rec")  # labels count from 0 there
    assert names(open_images(tmp_path / "a.rec")) == [
        f"{label}/{number}.png" for number, label in sorted(enumerate(labels), key=lambda x: x[1])
    ]
