"""Embeddings of images on disk: the columns, and the two formats they are kept in."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.embeddings.origin import ORIGIN_KEY, Origin
from marginface.extras import needs
from marginface.text import as_utf8

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

PARTS_IN_A_ROW_GROUP = 16  # readers skip and decode by row group: tens of megabytes are best


def embeddings_table(paths: Sequence[str], embeddings: NDArray[np.float32]) -> pa.Table:
    """Return path, identity, norm and embedding of each image as an Arrow table.

    Args:
        paths: relative to the folder of images; an identity is the first folder, '' where none.
            A byte that is no UTF-8 is written as `\\xNN`.
        embeddings: [images, size], as the model gives them, not normalised.

    >>> embeddings = np.array([[3, 4], [0, 1]], np.float32)
    >>> embeddings_table(["ann/1.jpg", "2.jpg"], embeddings).to_pylist()[0]
    {'path': 'ann/1.jpg', 'identity': 'ann', 'norm': 5.0, 'embedding': [3.0, 4.0]}
    """
    values = pa.array(np.ascontiguousarray(embeddings).reshape(-1), pa.float32())
    return pa.table(
        {
            "path": pa.array(map(as_utf8, paths), pa.string()),
            "identity": pa.array([as_utf8(_identity(path)) for path in paths], pa.string()),
            "norm": pa.array(np.linalg.norm(embeddings, axis=1), pa.float32()),
            "embedding": pa.FixedSizeListArray.from_arrays(values, embeddings.shape[1]),
        }
    )


def merge_to_parquet(parts: Sequence[Path], target: Path, origin: Origin | None = None) -> None:
    """Write the rows of `parts`, Parquet files of `embeddings_table`, to one file, in order.

    Its metadata says what made them, where that is known.
    """
    metadata = None if origin is None else {ORIGIN_KEY: origin.to_text()}
    schema = read_part(parts[0]).schema.with_metadata(metadata)
    with target.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        for at in range(0, len(parts), PARTS_IN_A_ROW_GROUP):
            group = parts[at : at + PARTS_IN_A_ROW_GROUP]
            tables = [read_part(part).replace_schema_metadata() for part in group]
            writer.write_table(pa.concat_tables(tables).combine_chunks())


def merge_to_npz(parts: Sequence[Path], target: Path, origin: Origin | None = None) -> None:
    """Write the rows of `parts` to arrays path, identity, norm and embedding of one .npz file.

    One more, of one text, says what made them, where that is known. The embeddings pass through
    part by part: the file may be larger than memory.
    """
    with zipfile.ZipFile(target, "w") as archive:
        if origin is not None:
            with archive.open(f"{ORIGIN_KEY}.npy", "w") as file:
                np.lib.format.write_array(file, np.array(origin.to_text()), allow_pickle=False)
        rows = 0
        for name, kind in (("path", np.str_), ("identity", np.str_), ("norm", np.float32)):
            column = np.array(
                [value for part in parts for value in _column(part, name).to_pylist()], kind
            )
            rows = len(column)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)
        with archive.open("embedding.npy", "w", force_zip64=True) as file:
            size = read_part(parts[0]).schema.field("embedding").type.list_size
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, size)}
            np.lib.format.write_array_header_1_0(file, header)
            for values in _embeddings(parts):
                file.write(values.astype("<f4").tobytes())


def read_part(part: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file, or some of its columns; Arrow takes paths in UTF-8 alone."""
    with part.open("rb") as file:
        return pq.read_table(file, columns=columns)


def _column(part: Path, name: str) -> pa.ChunkedArray:
    return read_part(part, [name]).column(name)


def _embeddings(parts: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    for part in parts:
        for chunk in _column(part, "embedding").chunks:
            yield chunk.flatten().to_numpy()


def _identity(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else ""
