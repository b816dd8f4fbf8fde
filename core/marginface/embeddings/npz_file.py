"""Embeddings in a NumPy .npz file, read batch by batch."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from marginface import zips
from marginface.embeddings.origin import LONGEST, ORIGIN_KEY
from marginface.embeddings.reading import BROKEN, ROWS_AT_ONCE, Batch, as_text, no_columns, single
from marginface.errors import MarginfaceError


def is_npz(path: Path) -> bool:
    """Return whether a file is a zip of arrays alone."""
    members = zips.names(path)
    return bool(members) and all(name.endswith(".npy") for name in members)


class NpzEmbeddings:
    """An .npz file with arrays path and embedding; see `EmbeddingsFile`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def origin(self) -> str | None:
        """Read the embeddings' origin from an array of one text."""
        with zipfile.ZipFile(self.path) as archive:
            if f"{ORIGIN_KEY}.npy" not in archive.namelist():
                return None
            with archive.open(f"{ORIGIN_KEY}.npy") as file:
                shape, _, kind = _header(file)
                if shape or kind.kind != "U" or kind.itemsize > 4 * LONGEST:
                    raise ValueError(f"{ORIGIN_KEY} {kind} {shape}")
                return str(np.frombuffer(file.read(kind.itemsize), kind)[0])

    def names(self) -> Iterator[str]:
        """Yield the array of paths."""
        with zipfile.ZipFile(self.path) as archive:
            if "path.npy" not in archive.namelist():
                raise no_columns(self.path, archive.namelist())
            with archive.open("path.npy") as file:
                yield from self._names(file)

    def batches(self) -> Iterator[Batch]:
        """Yield paths and embeddings."""
        with zipfile.ZipFile(self.path) as archive:
            members = archive.namelist()
            if not {"path.npy", "embedding.npy"} <= set(members):
                raise no_columns(self.path, members)
            if sum(each.compress_size for each in archive.infolist()) > self.path.stat().st_size:
                raise ValueError("its arrays are larger than the file")
            with archive.open("path.npy") as file:
                names = self._names(file)
            with archive.open("embedding.npy") as file:
                shape, by_columns, kind = _header(file)
                if kind.kind != "f":
                    raise MarginfaceError(
                        f"{self.path}: its embeddings are of type {kind}, expected floating "
                        "numbers; save them as float32"
                    )
                if len(shape) != 2 or shape[0] != len(names) or shape[1] < 1:
                    raise MarginfaceError(
                        f"{self.path} holds no embeddings that can be read: they have shape "
                        f"{shape}, expected [{len(names)}, size], a row for each of its paths"
                    )
                if by_columns:  # a row's numbers lie all over it
                    whole = np.frombuffer(file.read(), kind).reshape(shape, order="F")
                for at in range(0, len(names), ROWS_AT_ONCE):
                    chosen = names[at : at + ROWS_AT_ONCE]
                    if by_columns:
                        yield chosen, single(whole[at : at + len(chosen)])
                        continue
                    content = file.read(len(chosen) * shape[1] * kind.itemsize)
                    values = np.frombuffer(content, kind).reshape(len(chosen), shape[1])
                    yield chosen, single(values)

    def _names(self, file: IO[bytes]) -> list[str]:
        shape, _, kind = _header(file)
        if len(shape) != 1 or kind.kind not in "US":
            objects = ", which a pickle alone holds" if kind.hasobject else ""
            raise MarginfaceError(
                f"{self.path} holds no embeddings that can be read: their paths are of type {kind} "
                f"and shape {shape}{objects}; expected one text for each embedding, as "
                "np.array(paths, dtype=str)"
            )
        names = np.frombuffer(file.read(), kind)
        if len(names) != shape[0]:
            raise ValueError(f"{len(names)} paths, {shape[0]} announced")
        return [as_text(name) for name in names.tolist()]


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's shape, whether it is in column order, and its type.

    Nothing is allocated by what they announce.
    """
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"array of version {version}")
    try:
        shape, by_columns, kind = readers[version](file)
    except BROKEN:
        raise
    except Exception as error:  # NumPy reads Python's literals: whatever its parser stumbles over
        raise ValueError(f"no header of an array: {error!r}") from error
    return shape, by_columns, kind
