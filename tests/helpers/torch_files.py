"""Files as `torch.save` writes them, and as it never would."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marginface.pickles.tensors import Tensor


class Outside:
    """What a pickle names as lying outside of it."""

    def __init__(self, name: Any) -> None:
        self.name = name


class Call:
    """What a pickle makes of a callable and its arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class _Pickler(pickle.Pickler):
    more: tuple[Any, ...] = ()

    def persistent_id(self, obj: Any) -> Any:
        return (*obj.name, *self.more) if isinstance(obj, Outside) else None


def pickled(value: Any, *more: Any) -> bytes:
    """Return a pickle; `more` ends each name of what lies outside."""
    written = io.BytesIO()
    pickler = _Pickler(written, 2)
    pickler.more = more
    pickler.dump(value)
    return written.getvalue()


def storage(count: int = 6, key: Any = "0", kind: Any = torch.FloatStorage) -> Outside:
    return Outside(("storage", kind, key, "cpu", count))


def view(shape: Any, strides: Any, offset: Any = 0, held: Any = None, **flags: bool) -> Call:
    """Return a tensor of a storage, of six numbers for None."""
    of = storage() if held is None else held
    arguments = (of, offset, shape, strides, False, OrderedDict())
    return Call(torch._utils._rebuild_tensor_v2, *arguments, *([flags] if flags else []))


def zipped(
    path: Path,
    value: Any,
    storages: Mapping[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    **others: bytes,
) -> Path:
    """Write a zip of a value and of storages' bytes; for None of six numbers, "0"."""
    numbers = np.arange(6, dtype="<f4").tobytes()
    with zipfile.ZipFile(path, "w", compression) as archive:
        content = value if isinstance(value, bytes) else pickled(value)
        archive.writestr("model/data.pkl", content)
        for name, entry in {"version": b"3\n", **others}.items():
            archive.writestr(f"model/{name}", entry)
        for key, held in ({"0": numbers} if storages is None else storages).items():
            archive.writestr(f"model/data/{key}", held)
    return path


def row(path: Path, value: Any, keys: Any = ("0",), counts: tuple[int, ...] = (6,)) -> Path:
    """Write pickles in a row, and storages of float32 that count up."""
    system = {"protocol_version": 1001, "little_endian": True}
    head = [0x1950A86A20F9469CFC6C, 1001, system, value, list(keys)]
    storages = b"".join(
        count.to_bytes(8, "little", signed=True) + np.arange(count, dtype="<f4").tobytes()
        for count in counts
    )
    path.write_bytes(b"".join(pickled(part, None) for part in head) + storages)
    return path


def of_python_2(content: bytes) -> bytes:
    """Return a pickle of protocol 2 with its texts as Python 2's strings."""
    parts = []
    steps = [*pickletools.genops(content)]
    ends = [at for _, _, at in steps[1:]] + [len(content)]
    for (code, argument, at), end in zip(steps, ends, strict=True):
        if code.name == "BINUNICODE":
            text = argument.encode()
            parts.append(b"U" + bytes([len(text)]) + text)
        else:
            parts.append(content[at:end])
    return b"".join(parts)


def assert_same(actual: Any, expected: Any) -> None:
    """Compare what this library reads with what PyTorch does, bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(actual, Tensor)
        array, tensor = actual.array(), expected.detach()
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        same = tensor.resolve_conj().numpy()
        assert (array.dtype, array.shape) == (same.dtype, same.shape)
        assert array.tobytes() == same.tobytes()
    elif isinstance(expected, Mapping):
        assert isinstance(actual, dict)
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected
        assert type(actual) is type(expected)
