"""The interface of the formats of embeddings, and what their readers share."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError

ROWS_AT_ONCE = 4096
BROKEN = (  # what readers stumble over in a damaged file
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,  # of Arrow: damaged compression
    RuntimeError,  # of zipfile: encrypted, or compressed in an unknown way
    ValueError,
)

Batch = tuple[Sequence[str], NDArray[np.float32]]


@runtime_checkable
class EmbeddingsFile(Protocol):
    """A file of embeddings; in a damaged one, methods raise MarginfaceError or any of `BROKEN`."""

    def origin(self) -> str | None:
        """Return the text of `Origin.to_text` that the file holds, if it does."""

    def names(self) -> Iterator[str]:
        """Yield the image paths."""

    def batches(self) -> Iterator[Batch]:
        """Yield image paths and their embeddings [batch, size], float32, in the same order."""


def no_columns(path: Path, columns: Sequence[str]) -> MarginfaceError:
    """Return the error for a file that lacks paths or embeddings."""
    return MarginfaceError(
        f"{path} has {', '.join(columns)[:200]!a}; expected path and embedding, texts and lists of "
        "floating numbers, as `marginface embed` writes them; rename its own or convert them"
    )


def as_text(name: str | bytes) -> str:
    """Return a path as text: some programs store UTF-8 as bytes; others are escaped."""
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")


def single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return embeddings [batch, size] of any floating type as float32."""
    with np.errstate(over="ignore"):  # infinite: whoever needs the embedding names it
        return values.astype(np.float32, order="C", copy=False)
