"""Embeddings in a Parquet file, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from marginface.embeddings.origin import ORIGIN_KEY
from marginface.embeddings.reading import ROWS_AT_ONCE, Batch, as_text, no_columns, single
from marginface.errors import MarginfaceError
from marginface.extras import needs

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import types


class ParquetEmbeddings:
    """A Parquet file with columns path and embedding; see `EmbeddingsFile`.

    Columns may be what other programs write: any kind of text and of list, of any floating type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def origin(self) -> str | None:
        """Read the embeddings' origin from the file's metadata."""
        with _opened(self.path) as file:
            text = (file.metadata.metadata or {}).get(ORIGIN_KEY.encode())
            return None if text is None else text.decode(errors="replace")

    def names(self) -> Iterator[str]:
        """Yield the column of paths."""
        with _opened(self.path) as file:
            if file.schema_arrow.names.count("path") != 1:
                raise no_columns(self.path, file.schema_arrow.names)
            at = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path"]):
                yield from self._texts(batch.column("path"), at)
                at += len(batch)

    def batches(self) -> Iterator[Batch]:
        """Yield paths and embeddings."""
        with _opened(self.path) as file:
            schema = file.schema_arrow
            fields = [schema.field(at) for at in range(len(schema))]
            kinds = {field.name: field.type for field in fields}
            once = all(schema.names.count(name) == 1 for name in ("path", "embedding"))
            if not (once and _is_text(kinds["path"]) and _is_vector(kinds["embedding"])):
                columns = [f"{field.name} ({field.type})" for field in fields]
                raise no_columns(self.path, columns)
            at = size = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path", "embedding"]):
                names = self._texts(batch.column("path"), at)
                lists = _plain(batch.column("embedding"))
                if lists.null_count:
                    raise self._missing(names[_first_null(lists)], "no embedding")
                lengths = lists.value_lengths().to_numpy()
                size = size or int(lengths[:1].sum())
                if not size:
                    raise self._missing(names[0], "an embedding of no numbers")
                other = np.flatnonzero(lengths != size)
                if len(other):
                    raise MarginfaceError(
                        f"{self.path}: the embedding of {names[other[0]]} has "
                        f"{lengths[other[0]]} numbers, those before it have {size}; one model "
                        "must have made all"
                    )
                numbers = _plain(lists.flatten())
                if numbers.null_count:
                    row = _first_null(numbers) // size
                    raise self._missing(names[row], "an embedding with missing numbers (null)")
                values = numbers.to_numpy(zero_copy_only=False)
                yield names, single(values.reshape(len(names), size))
                at += len(names)

    def _texts(self, column: Any, at: int) -> list[str]:
        """Return the paths of a batch that begins with row `at`."""
        if column.null_count:
            raise MarginfaceError(
                f"{self.path}: row {at + _first_null(column) + 1} has no path (null); leave out "
                "the rows without one"
            )
        return [as_text(each) for each in column.to_pylist()]

    def _missing(self, name: str, what: str) -> MarginfaceError:
        return MarginfaceError(f"{self.path}: {name} has {what}; embed it again, or leave it out")


def _is_text(kind: Any) -> bool:
    kind = _decoded(kind)
    tests = [types.is_string, types.is_large_string, types.is_string_view]
    tests += [types.is_binary, types.is_large_binary]  # texts of writers that do not say so
    return kind is not None and any(test(kind) for test in tests)


def _is_vector(kind: Any) -> bool:
    kind = _decoded(kind)
    tests = (types.is_fixed_size_list, types.is_list, types.is_large_list, types.is_list_view)
    return (
        kind is not None
        and any(test(kind) for test in tests)
        and types.is_floating(_decoded(kind.value_type))
    )


def _decoded(kind: Any) -> Any:
    """Return the type that a dictionary or an extension stands for."""
    if isinstance(kind, pa.BaseExtensionType):
        return _decoded(kind.storage_type)
    return _decoded(kind.value_type) if isinstance(kind, pa.DictionaryType) else kind


def _plain(column: Any) -> Any:
    """Return an array without its dictionary or extension, a view of lists as lists."""
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    if isinstance(column, pa.ListViewArray):
        return column.cast(pa.list_(column.type.value_type))
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def _first_null(column: Any) -> int:
    return int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; errors of Arrow become a ValueError, as in other formats."""
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            yield file
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
