"""Write what `torch.load(weights_only=True)` reads, without PyTorch: a zip, as since 1.6.

The pickle names each tensor's storage, a file of its own in the zip, and its shape and strides.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError

# Of the pickle's protocol 2.
BEGIN, END, MARK = b"\x80\x02", b".", b"("
EMPTY_DICT, EMPTY_TUPLE, TUPLE, SET_ITEM = b"}", b")", b"t", b"s"
CALL, OUTSIDE, FALSE = b"R", b"Q", b"\x89"
STORAGES = {
    np.dtype(kind): name
    for kind, name in {
        np.float64: "DoubleStorage",
        np.float32: "FloatStorage",
        np.float16: "HalfStorage",
        np.int64: "LongStorage",
        np.int32: "IntStorage",
        np.uint8: "ByteStorage",
        np.bool_: "BoolStorage",
    }.items()
}

State = Mapping[str, "NDArray[Any] | State"]


def write_torch_file(path: Path, state: State) -> None:
    """Write a dictionary of arrays, or of such dictionaries.

    Raises:
        MarginfaceError: an array is of a type that PyTorch's files do not have.
    """
    storages: list[NDArray[Any]] = []
    pickle = b"".join((BEGIN, *_dictionary(state, storages), END))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(storages):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            archive.writestr(f"archive/data/{key}", little.tobytes())
        archive.writestr("archive/version", "3\n")


def _dictionary(state: State, storages: list[NDArray[Any]]) -> Iterator[bytes]:
    yield EMPTY_DICT
    for name, value in state.items():
        yield _text(name)
        if isinstance(value, Mapping):
            yield from _dictionary(value, storages)
        else:
            yield from _tensor(name, value, storages)
        yield SET_ITEM


def _tensor(name: str, array: NDArray[Any], storages: list[NDArray[Any]]) -> Iterator[bytes]:
    """Yield a call of torch's _rebuild_tensor_v2: storage, offset, shape, strides, no gradient."""
    if array.dtype not in STORAGES:
        raise MarginfaceError(
            f"'{name}' is of type {array.dtype}, which PyTorch's files do not have; convert it to "
            "float32"
        )
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    yield _global("torch._utils", "_rebuild_tensor_v2")
    yield MARK
    yield from (MARK, _text("storage"), _global("torch", STORAGES[array.dtype]))
    yield from (_text(str(len(storages))), _text("cpu"), _number(array.size), TUPLE, OUTSIDE)
    yield _number(0)
    yield from (MARK, *map(_number, array.shape), TUPLE)
    yield from (MARK, *map(_number, strides), TUPLE)
    yield from (FALSE, _global("collections", "OrderedDict"), EMPTY_TUPLE, CALL)
    yield from (TUPLE, CALL)
    storages.append(array)


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _number(value: int) -> bytes:
    """Return a whole number of up to 8 bytes."""
    encoded = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded
