"""Embeddings in a Parquet file, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marginface.embeddings.origin import ORIGIN_KEY
from marginface.embeddings.reading import ROWS_AT_ONCE, Batch, no_columns
from marginface.extras import needs

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetEmbeddings:
    """A Parquet file with columns path and embedding; see `EmbeddingsFile`."""

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
            if "path" not in file.schema_arrow.names:
                raise no_columns(self.path, file.schema_arrow.names)
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path"]):
                yield from map(str, batch.column("path").to_pylist())

    def batches(self) -> Iterator[Batch]:
        """Yield paths and embeddings."""
        with _opened(self.path) as file:
            schema = file.schema_arrow
            fields = [schema.field(at) for at in range(len(schema))]
            kinds = {field.name: field.type for field in fields}
            vector = kinds.get("embedding", pa.null())
            if kinds.get("path") != pa.string() or not _is_vector(vector):
                raise no_columns(self.path, [f"{name} ({kind})" for name, kind in kinds.items()])
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path", "embedding"]):
                names, values = batch.column("path"), batch.column("embedding")
                numbers = values.flatten()
                if names.null_count or values.null_count or numbers.null_count:
                    raise ValueError("values are missing")
                yield names.to_pylist(), numbers.to_numpy().reshape(len(names), vector.list_size)


def _is_vector(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; errors of Arrow become a ValueError, as in other formats."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
