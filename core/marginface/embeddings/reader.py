"""Read the files that `marginface embed` writes, batch by batch: they may be larger than memory."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from marginface.embeddings.origin import LONGEST, ORIGIN_KEY, Origin, common_origin
from marginface.errors import MarginfaceError

ROWS_AT_ONCE = 4096
BROKEN = (
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,  # of Arrow: damaged compression
    RuntimeError,  # of zipfile: encrypted, or compressed in an unknown way
    ValueError,
)

T = TypeVar("T")
Batch = tuple[Sequence[str], NDArray[np.float32]]


def read_embeddings(paths: Path | Sequence[Path]) -> Iterator[Batch]:
    """Yield image paths and their embeddings [batch, size], float32, in the order of the files.

    Args:
        paths: one or several files: .parquet with columns path and embedding, or .npz with such
            arrays.

    Raises:
        MarginfaceError: missing, damaged, or without these columns; files of two models.
    """
    paths = _several(paths)
    common_origin(read_origins(paths))
    size, first = 0, Path()
    for path in paths:
        for names, values in _guarded(path, _parquet if path.suffix == ".parquet" else _npz):
            if size and values.shape[1] != size:
                raise MarginfaceError(
                    f"{first} has embeddings of {size} numbers, {path} of {values.shape[1]}; one "
                    "model must have made both"
                )
            if not size:
                size, first = values.shape[1], path
            yield names, values


def read_names(paths: Path | Sequence[Path]) -> Iterator[str]:
    """Yield the image paths of the files, without their embeddings; raises as `read_embeddings`."""
    paths = _several(paths)
    read_origins(paths)  # which checks the kinds of files
    for path in paths:
        yield from _guarded(path, _parquet_names if path.suffix == ".parquet" else _npz_names)


def read_origins(paths: Path | Sequence[Path]) -> dict[Path, Origin | None]:
    """Read the origin of each file's embeddings; None for a file that does not record it.

    Raises:
        MarginfaceError: missing, damaged, or of a later version.
    """
    found: dict[Path, Origin | None] = {}
    for path in _several(paths):
        if path.suffix not in (".parquet", ".npz"):
            raise MarginfaceError(
                f"embeddings {path} end in '{path.suffix}', expected .parquet or .npz"
            )
        if not path.is_file():
            raise MarginfaceError(f"embeddings {path} are no file; `marginface embed` writes one")
        texts = _parquet_origin if path.suffix == ".parquet" else _npz_origin
        text = next(_guarded(path, texts), None)
        found[path] = None if text is None else Origin.from_text(text, path)
    return found


def embeddings_of(paths: Path | Sequence[Path], names: Sequence[str]) -> NDArray[np.float32]:
    """Return the embeddings [names, size] of images by name, from one or several files.

    Raises:
        MarginfaceError: as `read_embeddings`; a name without an embedding, with two, or with one
            that has no direction.
    """
    paths = _several(paths)
    files = " and ".join(map(str, paths))
    where = f"{files} {'have' if len(paths) > 1 else 'has'}"
    place = {name: at for at, name in enumerate(names)}
    found: NDArray[np.float32] | None = None
    missing = set(place)
    for batch, values in read_embeddings(paths):
        if found is None:
            found = np.empty((len(place), values.shape[1]), np.float32)
        for name, value in zip(batch, values, strict=True):
            if name not in place:
                continue
            if name not in missing:
                mending = (
                    "a folder above both, so that names differ" if len(paths) > 1 else "it again"
                )
                raise MarginfaceError(f"{where} two embeddings of {name}; embed {mending}")
            missing.remove(name)
            if not 0 < np.linalg.norm(value) < np.inf:
                raise MarginfaceError(
                    f"{files}: the embedding of {name} is of length zero, NaN or infinite; embed "
                    "it again, or leave it out of the lists"
                )
            found[place[name]] = value
    if missing or found is None:
        first = min(missing, key=place.__getitem__)
        raise MarginfaceError(
            f"{where} no embedding of {len(missing):,} of {len(place):,} images, first {first}; "
            "name them relative to the folder that was embedded"
        )
    return found


def _several(paths: Path | Sequence[Path]) -> list[Path]:
    """Return the distinct paths; the same file twice is one."""
    return list(dict.fromkeys([paths] if isinstance(paths, Path) else paths))


def _guarded(path: Path, read: Callable[[Path], Iterator[T]]) -> Iterator[T]:
    """Yield what a reader does; whatever a damaged file makes it stumble over is one error."""
    try:
        yield from read(path)
    except MarginfaceError:
        raise
    except BROKEN as error:
        # The system's, not the content's; a zip's offsets can lead in front of the file.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = (str(error) or repr(error)).partition("\n")[0][:120]
        raise MarginfaceError(
            f"{path} holds no embeddings that can be read ({reason}); embed the images again"
        ) from error


def _parquet_origin(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        text = (file.metadata.metadata or {}).get(ORIGIN_KEY.encode())
        if text is not None:
            yield text.decode(errors="replace")


def _npz_origin(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        if f"{ORIGIN_KEY}.npy" in archive.namelist():
            with archive.open(f"{ORIGIN_KEY}.npy") as file:
                shape, kind = _header(file)
                if shape or kind.kind != "U" or kind.itemsize > 4 * LONGEST:
                    raise ValueError(f"{ORIGIN_KEY} {kind} {shape}")
                yield str(np.frombuffer(file.read(kind.itemsize), kind)[0])


def _parquet_names(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        if "path" not in file.schema_arrow.names:
            raise _no_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path"]):
            yield from map(str, batch.column("path").to_pylist())


def _npz_names(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        if "path.npy" not in archive.namelist():
            raise _no_columns(path, archive.namelist())
        with archive.open("path.npy") as file:
            yield from _names(file)


def _parquet(path: Path) -> Iterator[Batch]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        fields = [schema.field(at) for at in range(len(schema))]
        kinds = {field.name: field.type for field in fields}
        vector = kinds.get("embedding", pa.null())
        if kinds.get("path") != pa.string() or not _is_vector(vector):
            raise _no_columns(path, [f"{name} ({kind})" for name, kind in kinds.items()])
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["path", "embedding"]):
            names, values = batch.column("path"), batch.column("embedding")
            numbers = values.flatten()
            if names.null_count or values.null_count or numbers.null_count:
                raise ValueError("values are missing")
            yield names.to_pylist(), numbers.to_numpy().reshape(len(names), vector.list_size)


def _is_vector(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32())


def _npz(path: Path) -> Iterator[Batch]:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if not {"path.npy", "embedding.npy"} <= set(members):
            raise _no_columns(path, members)
        if sum(each.compress_size for each in archive.infolist()) > path.stat().st_size:
            raise ValueError("its arrays are larger than the file")
        with archive.open("path.npy") as file:
            names = _names(file)
        with archive.open("embedding.npy") as file:
            shape, kind = _header(file)
            if len(shape) != 2 or shape[0] != len(names) or shape[1] < 1 or kind != np.float32:
                raise ValueError(f"{len(names)} paths and embeddings {kind} {shape}")
            for at in range(0, len(names), ROWS_AT_ONCE):
                chosen = names[at : at + ROWS_AT_ONCE]
                content = file.read(len(chosen) * shape[1] * kind.itemsize)
                yield chosen, np.frombuffer(content, kind).reshape(len(chosen), shape[1])


def _names(file: IO[bytes]) -> list[str]:
    shape, kind = _header(file)
    if len(shape) != 1 or kind.kind != "U":
        raise ValueError(f"paths {kind} {shape}")
    names: list[str] = np.frombuffer(file.read(), kind).tolist()
    if len(names) != shape[0]:
        raise ValueError(f"{len(names)} paths, {shape[0]} announced")
    return names


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read an array's shape and type; nothing is allocated by what they announce."""
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
    if by_columns:
        raise ValueError("array in column order")
    return shape, kind


def _no_columns(path: Path, found: Sequence[str]) -> MarginfaceError:
    return MarginfaceError(
        f"{path} has {', '.join(found)[:200]!a}; expected path and embedding, as "
        "`marginface embed` writes them"
    )
