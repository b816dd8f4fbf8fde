"""Embeddings are read back as they were written; other files are refused."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface import MarginfaceError
from marginface.embeddings import npz_file, parquet_file
from marginface.embeddings.files import embeddings_table, merge_to_npz, merge_to_parquet
from marginface.embeddings.reader import embeddings_of, read_embeddings

NAMES = [f"p{at}/ä{at}.jpg" for at in range(23)]
VALUES = np.random.default_rng(0).normal(size=(23, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    parts = []
    for at in (0, 10):
        parts.append(folder / f"part-{at}.parquet")
        pq.write_table(embeddings_table(NAMES[at:][: 10 + at], VALUES[at:][: 10 + at]), parts[-1])
    merge_to_parquet(parts, folder / "e.parquet")
    merge_to_npz(parts, folder / "e.npz")
    np.savez_compressed(folder / "small.npz", path=np.array(NAMES), embedding=VALUES)
    names = ("e.parquet", "e.npz", "small.npz")
    return {name: folder / name for name in names}


@pytest.mark.parametrize("name", ["e.parquet", "e.npz", "small.npz"])
@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_what_was_written_is_read_in_batches(written, name, rows, monkeypatch):
    for file in (npz_file, parquet_file):
        monkeypatch.setattr(file, "ROWS_AT_ONCE", rows)
    batches = list(read_embeddings(written[name]))
    assert [each for names, _ in batches for each in names] == NAMES
    np.testing.assert_array_equal(np.concatenate([values for _, values in batches]), VALUES)
    assert max(len(names) for names, _ in batches) <= rows


@pytest.mark.parametrize("name", ["e.parquet", "e.npz"])
def test_images_are_found_by_name(written, name):
    chosen = [NAMES[20], NAMES[3]]
    np.testing.assert_array_equal(embeddings_of(written[name], chosen), VALUES[[20, 3]])
    with pytest.raises(MarginfaceError, match=r"no embedding of 2 of 3 images, first z\.jpg"):
        embeddings_of(written[name], ["z.jpg", NAMES[0], "a.jpg"])


def test_two_embeddings_of_an_image_are_refused(tmp_path):
    np.savez(tmp_path / "e.npz", path=np.array(["a", "b", "a"]), embedding=VALUES[:3])
    with pytest.raises(MarginfaceError, match="two embeddings of a"):
        embeddings_of(tmp_path / "e.npz", ["a"])
    np.testing.assert_array_equal(embeddings_of(tmp_path / "e.npz", ["b"]), VALUES[1:2])


def npz(target: Path, /, **members: bytes) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return target


def array(shape: tuple[int, ...], kind: str, content: bytes) -> bytes:
    file = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


ONE_NAME = array((1,), "<U1", "a".encode("utf-32-le"))


@pytest.mark.parametrize(
    ("path", "embedding"),
    [
        (ONE_NAME, array((10**12, 512), "<f4", b"")),
        (array((10**12,), "<U9", b"a"), array((1, 2), "<f4", bytes(8))),
        (array((1,), f"<U{10**9}", b"a"), array((1, 2), "<f4", bytes(8))),
        (ONE_NAME, array((2, 2), "<f4", bytes(16))),
        (ONE_NAME, array((1, 2), "<f8", bytes(8))),
        (ONE_NAME, array((1, 2), "<f4", bytes(4)).replace(b"False", b"True ")),
        (ONE_NAME, array((2,), "<f4", bytes(8))),
        (ONE_NAME, array((1, 0), "<f4", b"")),
        (ONE_NAME, array((-1, -2), "<f4", bytes(8))),
        (array((1,), "|O", b"cos\nsystem\n."), array((1, 2), "<f4", bytes(8))),
        (array((1,), "<f4", bytes(4)), array((1, 2), "<f4", bytes(8))),
        (b"", array((1, 2), "<f4", bytes(8))),
        (ONE_NAME, array((1, 2), "<f4", bytes(8)).replace(b"(1, 2)", b"(1, 2L")),
        (ONE_NAME, array((1, 2), "<f4", bytes(8)).replace(b"'shape'", b"1      ")),
        (ONE_NAME, array((1, 2), "<f4", bytes(8)).replace(b"'shape'", b"()     ")),
        (ONE_NAME, array((1, 2), "<f4", bytes(8)).replace(b"'<f4'", b"()   ")),
    ],
)
def test_arrays_that_are_not_what_they_announce_are_refused(tmp_path, path, embedding):
    file = npz(tmp_path / "e.npz", path=path, embedding=embedding)
    with pytest.raises(MarginfaceError, match="holds no embeddings that can be read"):
        list(read_embeddings(file))


def test_no_memory_is_taken_for_a_size_that_a_file_only_announces(tmp_path):
    path = npz(tmp_path / "e.npz", path=ONE_NAME, embedding=array((1, 2), "<f4", bytes(8)))
    content = bytearray(path.read_bytes())
    sizes = content.index(b"PK\1\2") + 20  # in the directory: compressed, and whole
    content[sizes : sizes + 8] = 2 * (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(MarginfaceError, match="its arrays are larger than the file"):
        list(read_embeddings(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_other_files_are_refused_by_name(tmp_path):
    pq.write_table(pa.table({"path": ["a"], "embedding": [[1]]}), tmp_path / "list.parquet")
    np.savez(tmp_path / "other.npz", values=VALUES)
    (tmp_path / "text.parquet").write_text("text")
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "e.csv").write_text("text")
    for name, words in (
        ("list.parquet", r"has 'path \(string\), embedding \(list.*expected path and embedding"),
        ("other.npz", "has 'values.npy'; expected path and embedding"),
        ("text.parquet", "holds no embeddings that can be read"),
        ("text.npz", "holds no embeddings that can be read"),
        (
            "absent.npz",
            r"no such file or folder: \S+absent\.npz; expected a \.parquet(,| or) an \.npz",
        ),
        ("e.csv", r"e\.csv is a file of another kind; expected a \.parquet(,| or) an \.npz"),
    ):
        with pytest.raises(MarginfaceError, match=words) as caught:
            list(read_embeddings(tmp_path / name))
        assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(["e.parquet", "e.npz", "small.npz"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 10**6),
)
def test_damaged_files_are_read_or_refused(written, tmp_path_factory, name, changes, cut):
    content = bytearray(written[name].read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    keep = len(content) - cut % len(content) if cut % 3 == 0 else len(content)
    path = tmp_path_factory.getbasetemp() / f"damaged{written[name].suffix}"
    path.write_bytes(content[:keep])
    message, rows = "", 0
    try:
        for names, values in read_embeddings(path):
            rows += len(names)
            assert values.shape == (len(names), values.shape[1])
    except MarginfaceError as error:
        message = str(error)
    assert rows or message
    assert "\n" not in message


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_named(tmp_path, value):
    values = np.array([[1, 2], [value, 0]], np.float32)
    np.savez(tmp_path / "e.npz", path=np.array(["a", "b"]), embedding=values)
    np.testing.assert_array_equal(embeddings_of(tmp_path / "e.npz", ["a"]), values[:1])
    with pytest.raises(MarginfaceError, match="the embedding of b is of length zero"):
        embeddings_of(tmp_path / "e.npz", ["a", "b"])
