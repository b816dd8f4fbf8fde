"""Named arrays in safetensors files, written one at a time."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# In safetensors' order, the last first, so that every array starts at a multiple of its item size.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32),
    "C64": np.dtype(np.complex64),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
RANKS = {dtype: rank for rank, dtype in enumerate(CODES)}
CHUNK_BYTES = 1 << 20  # what is summed and written while the processor's cache still has it


class ArraySpec(NamedTuple):
    """Type and shape of an array.

    Args:
        dtype: of its elements.
        shape: of the whole.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


class ArraySource(Protocol):
    """An array in memory, or one in a file whose rows are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Read some rows."""

    def __array__(self, dtype: Any = None, /) -> NDArray[Any]:
        """Read the whole array."""


@runtime_checkable
class StoredSource(ArraySource, Protocol):
    """An array in files, which can be checked before it is read."""

    def check(self, rows: slice) -> None:
        """Raise MarginfaceError unless the files that have some rows are what was written."""


def in_file_order(specs: Mapping[str, ArraySpec]) -> dict[str, ArraySpec]:
    """Sort specs as safetensors sorts the arrays of a file: by type, then by name."""
    return dict(sorted(specs.items(), key=lambda item: (-RANKS[item[1].dtype], item[0])))


def write_arrays(
    path: Path, specs: Mapping[str, ArraySpec], arrays: Iterable[tuple[str, NDArray[Any]]]
) -> int:
    """Write a safetensors file of arrays that come one at a time; return the file's CRC-32.

    Args:
        path: of the file.
        specs: of the arrays, in the order in which they come; see `in_file_order`.
        arrays: each name with its array, which may change as soon as the next one is asked for.

    Raises:
        OSError: it cannot be written.
        TypeError: an array is not what its spec says.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, spec in specs.items():
        start, end = end, end + spec.nbytes
        header[name] = {
            "dtype": CODES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    crc32 = zlib.crc32(head)
    with path.open("wb") as file:
        file.write(head)
        coming = iter(arrays)
        for name, spec in specs.items():  # zip would keep an array while the next one is made
            crc32 = _append(file, crc32, name, spec, next(coming, ("nothing", np.empty(0))))
        if (more := next(coming, None)) is not None:
            raise TypeError(f"expected no more arrays; got {more[0]}")
    return crc32


def _append(
    file: BinaryIO, crc32: int, name: str, spec: ArraySpec, named_array: tuple[str, NDArray[Any]]
) -> int:
    """Append an array's values to a file; return the CRC-32 with them."""
    array_name, array = named_array
    if (array_name, array.dtype, array.shape) != (name, *spec):
        raise TypeError(f"expected {name}, {spec}; got {array_name}, {array.dtype}, {array.shape}")
    little = np.ascontiguousarray(array, spec.dtype.newbyteorder("<"))
    values = little.reshape(-1).view(np.uint8)
    for first in range(0, len(values), CHUNK_BYTES):
        chunk = values[first : first + CHUNK_BYTES].data
        crc32 = zlib.crc32(chunk, crc32)
        file.write(chunk)
    return crc32


def save_file(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays to a safetensors file."""
    native = {name: array.dtype.newbyteorder("=") for name, array in arrays.items()}
    specs = in_file_order({n: ArraySpec(native[n], array.shape) for n, array in arrays.items()})
    write_arrays(path, specs, ((n, np.asarray(arrays[n], native[n])) for n in specs))
