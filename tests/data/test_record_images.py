"""Images of .rec files in InsightFace's and im2rec's layout, their names and checks."""

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import (
    MAGIC,
    colours,
    header,
    im2rec,
    image,
    insightface,
    names,
    part,
    png,
    refusal,
    value_or_refusal,
    write,
)

from marginface.data.opening import open_images, open_listed
from marginface.errors import MarginfaceError


def test_insightface_layout(tmp_path):
    images = open_images(insightface(tmp_path / "train.rec", [0, 0, 0, 1, 2, 2]))
    assert images.identities == ("0", "1", "2")
    assert images.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert images.labels.dtype == np.int64
    assert colours(images) == [1, 2, 3, 4, 5, 6]
    assert names(images) == ["0/1", "0/2", "0/3", "1/4", "2/5", "2/6"]
    assert images.encoded(4) == png(5)
    assert images.root == tmp_path / "train.rec"
    assert images.skipped == ()


def test_images_with_several_labels_have_the_first(tmp_path):
    images = open_images(insightface(tmp_path / "a.rec", [[0, 1], [0, 1], [1, 1], [1, 0]]))
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert colours(images) == [1, 2, 3, 4]


def test_im2rec_layout_has_an_image_at_key_0(tmp_path):
    images = open_images(im2rec(tmp_path / "a.rec", [1, 0, 1]))
    assert images.labels.tolist() == [1, 0, 1]
    assert colours(images) == [0, 1, 2]
    assert images.name(0) == "1/0"


def test_gaps_between_labels_close_and_names_keep_them(tmp_path):
    images = open_images(im2rec(tmp_path / "a.rec", [7, 7, 2, 40]))
    assert images.identities == ("2", "7", "40")
    assert images.labels.tolist() == [1, 1, 0, 2]


def test_order_is_that_of_keys_whatever_that_of_the_file(tmp_path):
    records = {key: image(key, key // 2, key) for key in (3, 0, 2, 1)}
    assert colours(open_images(write(tmp_path / "a.rec", records))) == [0, 1, 2, 3]


def test_ranges_that_float32_cannot_tell_apart_lead_nowhere_wrong(tmp_path):
    first = 2**24  # key and key + 1 are one in float32
    records = {first + key: image(first + key, key // 3, key) for key in range(6)}
    begin, middle, end = first, first + 3, first + 6
    records[end] = part(0, header(end, [begin, middle]))
    records[end + 1] = part(0, header(end + 1, [middle, end]))
    records[0] = part(0, header(0, [end, end + 2]))
    assert int(np.float32(middle)) != middle  # the trap is there
    images = open_images(write(tmp_path / "a.rec", records))
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [images.name(number) for number in (2, 3)] == ["0/16777218", "1/16777219"]
    assert colours(images) == list(range(6))


@pytest.mark.parametrize("label", [-1.0, 0.5, np.nan, np.inf, 2.0**24 + 2])
def test_labels_that_are_no_exact_whole_numbers_are_refused(tmp_path, label):
    path = im2rec(tmp_path / "a.rec", [0, 1, label])
    assert f"record 2 has the label {np.float32(label)}" in refusal(path)


def test_split_records_are_images_like_others(tmp_path):
    split = header(1, 1.0) + MAGIC + b"not an image"
    at = split.index(MAGIC)
    records = {
        0: image(0, 0, 0),
        1: part(1, split[:at]) + part(3, split[at + 4 :]),
        2: image(2, 1, 2),
    }
    images = open_listed(write(tmp_path / "a.rec", records))
    assert images.labels.tolist() == [0, 1, 1]
    assert images.encoded(1) == MAGIC + b"not an image"


def test_names_come_from_the_lst(tmp_path):
    path = im2rec(tmp_path / "a.rec", [0, 0, 1])
    (tmp_path / "a.lst").write_text(
        "2\t1.000000\tdata/bob/x.jpg\n0\t0.000000\tdata/ann/x.jpg\n1\t0\tdata/ann/y.jpg\n"
    )
    images = open_images(path)
    assert images.identities == ("ann", "bob")
    assert names(images) == ["ann/x.jpg", "ann/y.jpg", "bob/x.jpg"]


def test_a_changed_lst_is_read_anew(tmp_path):
    path = im2rec(tmp_path / "a.rec", [0, 0, 1])
    assert open_images(path).name(2) == "1/2"
    (tmp_path / "a.lst").write_text("0\t0\ta/x.jpg\n1\t0\ta/y.jpg\n2\t1\tb/z.jpg\n")
    assert open_images(path).name(2) == "b/z.jpg"
    (tmp_path / "a.lst").write_text("0\t0\ta/x.jpg\n1\t0\ta/y.jpg\n2\t1\tc/z.jpg\n\n")
    assert open_images(path).name(2) == "c/z.jpg"


@pytest.mark.parametrize(
    ("paths", "identities", "expected"),
    [
        (["x.jpg", "y.jpg", "x.jpg"], "01", "0/x.jpg 0/y.jpg 1/x.jpg"),  # no folders
        (["a/x", "b/y", "c/z"], "01", "0/x 0/y 1/z"),  # two names for a label
        (["a/x", "a/y", "a/z"], "01", "0/x 0/y 1/z"),  # one name for two labels
        (["a/x", "a/x", "b/x"], "ab", "a/0 a/1 b/2"),  # two images of one name
        (["../x", "../y", "b/.."], "01", "0/0 0/1 1/2"),  # ways out of a folder
        (["a/.x", "a/y", "b/z"], "ab", "a/0 a/1 b/2"),  # a hidden file
        (["a\\x", "a\\y", "b\\z"], "01", "0/0 0/1 1/2"),
    ],
)
def test_names_that_do_not_do_are_replaced_by_numbers(tmp_path, paths, identities, expected):
    path = im2rec(tmp_path / "a.rec", [0, 0, 1])
    lines = zip(range(3), [0, 0, 1], paths, strict=True)
    (tmp_path / "a.lst").write_text("".join(f"{k}\t{label}\t{p}\n" for k, label, p in lines))
    images = open_images(path)
    assert images.identities == tuple(identities)
    assert " ".join(names(images)) == expected


def test_a_list_of_what_to_pack_tells_no_names(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 1])
    (tmp_path / "a.lst").write_text("1\t/data/ann/0.jpg\t0\n1\t/data/bob/0.jpg\t1\n")
    assert open_images(path).identities == ("0", "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t0\ta/x\n1\t0\ta/y\n", "no line for record 2 of label 1"),
        ("0\t0\ta/x\n1\t1\ta/y\n2\t1\tb/z\n", "no line for record 1 of label 0"),
        ("0\t0\ta/x\n1\t0\n2\t1\tb/z\n", "is damaged"),
        ("0\t0\ta/x\n\xff\t0\ta/y\n2\t1\tb/z\n", "is damaged"),
    ],
)
def test_a_lst_of_another_rec_is_refused(tmp_path, text, message):
    path = im2rec(tmp_path / "a.rec", [0, 0, 1])
    (tmp_path / "a.lst").write_text(text, encoding="latin-1")
    assert message in refusal(path)
    assert str(tmp_path / "a.lst") in refusal(path)


def test_a_truncated_rec_is_refused_at_every_byte(tmp_path):
    whole = im2rec(tmp_path / "a.rec", [0, 0, 1]).read_bytes()
    path = tmp_path / "b.rec"
    path.with_suffix(".idx").write_bytes((tmp_path / "a.idx").read_bytes())
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        for options in ({}, {"rebuild_index": True}):
            assert str(path.with_suffix("")) in refusal(path, **options)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.data())
def test_any_change_gives_images_or_a_clear_error(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    path = insightface(folder / "a.rec", [0, 0, [1, 1]])
    which = data.draw(st.sampled_from([path, path.with_suffix(".idx")]))
    changed = bytearray(which.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    which.write_bytes(changed)
    (folder / "a.rec.index").unlink(missing_ok=True)
    images = value_or_refusal(open_images, path, rebuild_index=data.draw(st.booleans()))
    found = [images]
    if not isinstance(images, str):
        found = [value_or_refusal(images.__getitem__, number) for number in range(len(images))]
    for each in found:
        if isinstance(each, str):
            assert str(folder) in each
            assert "\n" not in each
        else:
            assert each[0].shape == (112, 112, 3)


def test_a_wrong_size_shows_at_opening(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    message = refusal(path, size=(96, 96))
    assert f"3 of 3 images looked at in {path} cannot be used" in message
    assert "the first is 0/1: the image is 112x112 (height x width), expected 96x96" in message
    assert open_images(path, size=(96, 96), resize=True)[0][0].shape == (96, 96, 3)


def bad_at(path, bad, count):
    records = {key: image(key, key % 5, key) for key in range(count)}
    records[bad] = part(0, header(bad, bad % 5) + b"no image")
    return write(path, records)


def test_a_bad_image_that_opening_passes_over_is_named_when_read(tmp_path):
    images = open_images(bad_at(tmp_path / "a.rec", 1, 1000))
    with pytest.raises(MarginfaceError, match=r"a\.rec: record 1 \(1/1\): cannot read the image"):
        images[1]


def test_a_good_image_is_read_without_putting_its_name_together(tmp_path, monkeypatch):
    images = open_images(insightface(tmp_path / "a.rec", [0, 0, 1]))
    monkeypatch.delattr(type(images), "name")
    assert images[1][1] == 0


def test_skipping_bad_images_looks_at_each(tmp_path):
    seen = []
    images = open_images(
        bad_at(tmp_path / "a.rec", 1, 1000),
        skip_bad=True,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert len(images) == 999
    assert seen[-1] == (1000, 1000)
    [(name, reason)] = images.skipped
    assert name == "1/1"
    assert reason.startswith("cannot read the image")
    assert [images.name(number) for number in range(2)] == ["0/0", "2/2"]
    assert images.fingerprint() != open_images(tmp_path / "a.rec").fingerprint()


def test_identities_without_a_good_image_go(tmp_path):
    records = {key: image(key, key, key) for key in range(4)}
    records[1] = part(0, header(1, 1) + b"no image")
    images = open_images(write(tmp_path / "a.rec", records), skip_bad=True)
    assert images.identities == ("0", "2", "3")
    assert images.labels.tolist() == [0, 1, 2]
    assert colours(images) == [0, 2, 3]


def test_many_workers_open_and_read_one_file(tmp_path):
    path = insightface(tmp_path / "a.rec", [number // 4 for number in range(40)])
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: colours(open_images(path)), range(8)))
    assert opened == [list(range(1, 41))] * 8
    images = open_images(path)
    assert len(pickle.dumps(images)) < 1500
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(images.encoded, list(range(40)) * 10))
    assert read == [png(key) for key in range(1, 41)] * 10
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(images.encoded, range(40), chunksize=10)) == read[:40]
