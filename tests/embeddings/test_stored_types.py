"""Embeddings are read in every type and order that other programs store them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marginface import MarginfaceError
from marginface.embeddings import npz_file, parquet_file
from marginface.embeddings.reader import read_embeddings, read_names

NAMES = [f"p{at}/ä{at}.jpg" for at in range(11)]
# Exact in float16, so that all types hold the same numbers.
VALUES = np.random.default_rng(0).integers(-99, 99, (11, 4)).astype(np.float32)
FLAT = VALUES.ravel()


@pytest.fixture(autouse=True, params=[3, 4096])
def rows_at_once(request, monkeypatch):
    for file in (npz_file, parquet_file):
        monkeypatch.setattr(file, "ROWS_AT_ONCE", request.param)


def check(path: Path) -> None:
    batches = list(read_embeddings(path))
    assert [name for names, _ in batches for name in names] == list(read_names(path)) == NAMES
    read = np.concatenate([values for _, values in batches])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, VALUES)


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, kind, order, save):
    save(tmp_path / "e.npz", path=np.array(NAMES), embedding=np.array(VALUES, kind, order=order))
    check(tmp_path / "e.npz")


def lists(kind: Any, values: Any = FLAT) -> pa.Array:
    array = pa.array(np.asarray(values).astype(kind.to_pandas_dtype()), kind)
    return pa.ListArray.from_arrays(pa.array(range(0, 45, 4), pa.int32()), array)


def fixed(kind: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(FLAT, kind), 4)


TENSORS = pa.fixed_shape_tensor(pa.float32(), [4])
COLUMNS = {
    "list of float": lists(pa.float32()),
    "list of double": lists(pa.float64()),
    "list of half": lists(pa.float16()),
    "large list": lists(pa.float64()).cast(pa.large_list(pa.float64())),
    "fixed double": fixed(pa.float64()),
    "fixed half": fixed(pa.float32()).cast(pa.list_(pa.float16(), 4)),
    "list view": pa.array(VALUES.tolist(), pa.list_view(pa.float64())),
    "tensor": pa.ExtensionArray.from_storage(TENSORS, fixed(pa.float32())),
}
TEXTS = {
    "string": pa.array(NAMES),
    "large_string": pa.array(NAMES, pa.large_string()),
    "string_view": pa.array(NAMES, pa.string_view()),
    "bytes": pa.array([name.encode() for name in NAMES]),
    "dictionary": pa.array(NAMES).dictionary_encode(),
    "large dictionary": pa.array(NAMES, pa.large_string()).dictionary_encode(),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("text", TEXTS)
def test_parquet(tmp_path, column, text):
    table = pa.table({"embedding": COLUMNS[column], "path": TEXTS[text]})
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=5)
    check(tmp_path / "e.parquet")


@pytest.mark.parametrize(
    ("paths", "embeddings", "words"),
    [
        (["a", "b"], [[1.0, 2.0], [1.0]], "the embedding of b has 1 numbers, those before it .* 2"),
        (["a", "b"], [[1.0, 2.0], None], "b has no embedding; embed it again, or leave it out"),
        (["a", "b"], [[1.0, 2.0], [None, 1.0]], r"b has an embedding with missing numbers \(null"),
        (["a", "b"], [[], [1.0]], "a has an embedding of no numbers"),
        (["a", None], [[1.0], [2.0]], r"row 2 has no path \(null"),
        (["a", "b"], [["1"], ["2"]], r"embedding \(list.*expected path and embedding"),
        (["a", "b"], [[1], [2]], r"embedding \(list.*int64.*expected path and embedding"),
        (["a", "b"], [1.0, 2.0], r"embedding \(double\)'; expected path and embedding"),
        ([1, 2], [[1.0], [2.0]], r"path \(int64\).*expected path and embedding"),
    ],
)
def test_other_tables_are_refused_by_name(tmp_path, paths, embeddings, words):
    pq.write_table(pa.table({"path": paths, "embedding": embeddings}), tmp_path / "e.parquet")
    with pytest.raises(MarginfaceError, match=words) as caught:
        list(read_embeddings(tmp_path / "e.parquet"))
    assert str(tmp_path / "e.parquet") in str(caught.value)


@pytest.mark.parametrize("kind", ["int8", "int64", "complex64", "bool", "<U3"])
def test_other_types_in_npz_are_refused_by_name(tmp_path, kind):
    np.savez(tmp_path / "e.npz", path=np.array(NAMES), embedding=VALUES.astype(kind))
    with pytest.raises(MarginfaceError, match=r"its embeddings are of type .*, expected floating"):
        list(read_embeddings(tmp_path / "e.npz"))


def test_paths_in_npz_may_be_bytes(tmp_path):
    paths = np.array([name.encode() for name in NAMES])
    np.savez(tmp_path / "e.npz", path=paths, embedding=VALUES)
    check(tmp_path / "e.npz")


@pytest.mark.parametrize(
    ("paths", "embeddings", "words"),
    [
        (NAMES, VALUES[:, 0], r"they have shape \(11,\), expected \[11, size\]"),
        (NAMES, VALUES[:, None], r"they have shape \(11, 1, 4\), expected \[11, size\]"),
        (NAMES, VALUES[:, :0], r"they have shape \(11, 0\), expected \[11, size\]"),
        (NAMES[1:], VALUES, r"they have shape \(11, 4\), expected \[10, size\]"),
        ([NAMES], VALUES, r"their paths are of type <U11 and shape \(1, 11\); expected one text"),
        (range(11), VALUES, r"their paths are of type int64 and shape \(11,\); expected one text"),
        (
            np.array(NAMES, object),
            VALUES,
            r"which a pickle alone holds; .*np.array\(paths, dtype=str",
        ),
        (NAMES, VALUES.astype(object), "its embeddings are of type object, expected floating"),
        (NAMES, np.zeros(11, "f4,f4"), r"of type \[\('f0', '<f4'\), .*, expected floating"),
    ],
)
def test_other_shapes_in_npz_are_told(tmp_path, paths, embeddings, words):
    np.savez(tmp_path / "e.npz", path=paths, embedding=embeddings)
    with pytest.raises(MarginfaceError, match=words):
        list(read_embeddings(tmp_path / "e.npz"))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    columns = [TEXTS["string"], TEXTS["string"], COLUMNS["list of float"]]
    pq.write_table(pa.table(columns, ["path", "path", "embedding"]), tmp_path / "e.parquet")
    for read in (read_embeddings, read_names):
        with pytest.raises(MarginfaceError, match=r"has 'path.*, path.*; expected path and emb"):
            list(read(tmp_path / "e.parquet"))
