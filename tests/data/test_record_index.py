"""The index of .rec files: .idx files, stale and rebuilt, and the cache beside the file."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import (
    colours,
    image,
    insightface,
    names,
    refusal,
    value_or_refusal,
    write,
)
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from marginface.data.formats.index_cache import MappedIndex
from marginface.data.opening import open_images, open_listed
from marginface.errors import MarginfaceError


def test_the_index_is_cached_and_mapped(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    first = open_images(path)
    assert (tmp_path / "a.rec.index").is_file()
    (tmp_path / "a.idx").unlink()  # not needed any more
    second = open_images(path)
    assert isinstance(second.index, MappedIndex)
    assert not second.labels.flags.owndata
    assert not second.labels.flags.writeable
    assert second.labels.tolist() == first.labels.tolist()
    assert second.fingerprint() == first.fingerprint()
    assert colours(second) == [1, 2, 3]


def test_the_cache_of_another_rec_is_passed_over(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    open_images(path)
    insightface(path, [0, 1, 1])
    os.utime(path, ns=(1, 1))
    assert open_images(path).labels.tolist() == [0, 1, 1]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.data())
def test_a_damaged_cache_is_passed_over_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "cached.rec"
    cache = path.with_name("cached.rec.index")
    if not path.exists():
        insightface(path, [0, 0, 1])
        path.with_suffix(".lst").write_text("1\t0\ta/x\n2\t0\ta/y\n3\t1\tb/z\n")
        open_images(path)
        cache.with_name("whole").write_bytes(cache.read_bytes())
    whole = bytearray(cache.with_name("whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cache.unlink(missing_ok=True)
    cache.write_bytes(whole[: data.draw(st.integers(len(whole) - 3, len(whole)))])
    images = open_listed(path)
    for number in range(len(images)):
        assert 0 <= images.labels[number] < len(images.identities)
        identity, file = images.name(number).split("/")
        assert not {identity, file} & {"", ".", ".."}
        found = value_or_refusal(images.encoded, number)
        assert isinstance(found, bytes) or found.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("labels", [0, 0, 2]),
        ("labels", [-1, 0, 1]),
        ("labels", [0, 1]),
        ("files.encoded", list(b"/.x") * 3),
        ("files.offsets", [0, 3, 3, 9]),
        ("files.offsets", [0, 3, 99, 9]),
        ("identities.encoded", list(b"../b")),
    ],
)
def test_a_cache_made_to_mislead_is_passed_over(tmp_path, name, values):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    path.with_suffix(".lst").write_text("1\t0\tann/1.x\n2\t0\tann/2.x\n3\t1\tb/3.x\n")
    expected = names(open_images(path))
    cache = tmp_path / "a.rec.index"
    with safe_open(cache, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(cache)
    whole = arrays[name].tolist()
    arrays[name] = np.array(values, arrays[name].dtype)
    cache.unlink()
    save_file(arrays, cache, metadata)
    images = open_images(path)
    assert names(images) == expected
    assert images.labels.tolist() == [0, 0, 1]
    assert load_file(cache)[name].tolist() == whole  # written anew


def test_a_folder_that_cannot_be_written_has_no_cache(tmp_path, monkeypatch):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("marginface.data.formats.index_cache.save_file", refuse)
    images = open_images(path)
    assert colours(images) == [1, 2, 3]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.idx", "a.rec"]
    assert colours(pickle.loads(pickle.dumps(images))) == [1, 2, 3]


def test_a_missing_index_is_rebuilt_when_asked(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    idx = tmp_path / "a.idx"
    whole = idx.read_text()
    idx.unlink()
    message = refusal(path)
    assert f"no such file: {idx}; " in message
    assert f"`marginface data inspect {path} --rebuild-index`" in message
    assert colours(open_images(path, rebuild_index=True)) == [1, 2, 3]
    assert idx.read_text() == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, "99\t4\n"],
        lambda lines: [*lines, "99\t99999999\n"],
        lambda lines: [*lines, f"99\t{2**63 - 1}\n"],
        lambda lines: [*lines, "99\t-4\n"],
        lambda lines: [*lines, lines[0]],
        lambda lines: [*lines, "99\t0\n"],
        lambda lines: [*lines[:-1], "1\t" + lines[-1].split("\t")[1]],
        lambda lines: [*lines[:-1], lines[-1].split("\t")[0] + "\n"],
        lambda lines: [line.replace("\t", " ") for line in lines],
        lambda lines: ["key\toffset\n", *lines],
        lambda _: [],
        lambda lines: [*lines, f"{10**30}\t0\n"],
    ],
)
def test_a_stale_or_damaged_index_is_refused_or_rebuilt(tmp_path, change):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    idx = tmp_path / "a.idx"
    whole = idx.read_text()
    lines = whole.splitlines(keepends=True)
    idx.write_text("".join(change(lines)))
    message = refusal(path)
    assert "--rebuild-index" in message
    assert str(tmp_path) in message
    assert colours(open_images(path, rebuild_index=True)) == [1, 2, 3]
    assert idx.read_text() == whole


def test_records_without_numbers_of_their_own_are_counted(tmp_path):
    path = write(tmp_path / "a.rec", {key: image(0, key // 2, key) for key in range(4)})
    path.with_suffix(".idx").unlink()
    assert colours(open_images(path, rebuild_index=True)) == [0, 1, 2, 3]
    assert path.with_suffix(".idx").read_text().startswith("0\t0\n1\t")


def test_a_worker_refuses_an_index_that_changed(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    pickled = pickle.dumps(open_images(path))
    insightface(path, [0, 1, 1, 1])
    open_images(path)
    with pytest.raises(MarginfaceError, match="has changed since it was opened"):
        pickle.loads(pickled)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027])
def test_the_cache_is_for_all_whom_the_umask_lets_read_it(tmp_path, umask):
    before = os.umask(umask)
    try:
        open_images(insightface(tmp_path / "a.rec", [0, 0, 1]))
    finally:
        os.umask(before)
    assert (tmp_path / "a.rec.index").stat().st_mode & 0o777 == 0o666 & ~umask
