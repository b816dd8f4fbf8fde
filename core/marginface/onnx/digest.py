"""The digest of what an ONNX file computes: its graph and tensors, wherever they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.onnx.session import check_file
from marginface.regular import real_path

with needs("onnx"):
    import onnx
    from google.protobuf.message import DecodeError, Message
    from onnx import TensorProto

# Fields that say who wrote a model, when and why, or that follow from the others.
LEFT_OUT = frozenset(
    f"onnx.{name}"
    for name in (
        *("ModelProto.ir_version", "ModelProto.producer_name", "ModelProto.producer_version"),
        *("ModelProto.domain", "ModelProto.model_version", "ModelProto.training_info"),
        *("GraphProto.name", "GraphProto.value_info", "NodeProto.name", "FunctionProto.value_info"),
        *(
            f"{kind}Proto.{field}"
            for kind in ("Model", "Graph", "Node", "Function", "Tensor", "ValueInfo", "Attribute")
            for field in ("doc_string", "metadata_props")
        ),
    )
)
BITS = {  # of an element, by type
    **dict.fromkeys(("UINT2", "INT2"), 2),
    **dict.fromkeys(("UINT4", "INT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("UINT8", "INT8", "BOOL"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    "FLOAT8E8M0": 8,
    **dict.fromkeys(("UINT16", "INT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}
# The fields that hold elements where `raw_data` does not, as `raw_data` would hold them.
FIELDS = {"float_data": "<f4", "int64_data": "<i8", "double_data": "<f8", "uint64_data": "<u8"}
BYTES_AT_ONCE = 1 << 20


def onnx_digest(path: Path) -> str:
    """Return a SHA-256 of the nodes, tensors, inputs, outputs and opsets of an ONNX file.

    A tensor counts by its elements: in the file, or beside it as external data, which is read in
    pieces. Names of nodes, documentation, producer and metadata do not count.

    Raises:
        MarginfaceError: no such file, not an ONNX model, or external data that is missing, too
            short, or kept outside the model's folder.
    """
    model = load_graph(path)
    digest = hashlib.sha256(b"onnx 1")
    for piece in _message(model, path):
        digest.update(piece)
    return digest.hexdigest()


def load_graph(path: Path) -> onnx.ModelProto:
    """Return a model without what it keeps in other files; raises as `onnx_digest`."""
    check_file(path)
    damaged = MarginfaceError(
        f"{path} is not an ONNX model, or a damaged one; export or download it again"
    )
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise damaged from error
    if not model.HasField("graph"):  # an empty file is a message, too
        raise damaged
    return model


def _message(message: Message, path: Path) -> Iterator[bytes]:
    """Yield the fields that the digest covers, each with its number, length or count."""
    if isinstance(message, TensorProto):
        yield from _tensor(message, path)
        return
    for field, value in message.ListFields():
        if field.full_name in LEFT_OUT:
            continue
        single = isinstance(value, Message | str | bytes | int | float)
        if single and value == field.default_value:
            continue  # as good as not set
        values = [value] if single else value
        yield f"{field.number}:{len(values)};".encode()
        for item in values:
            if isinstance(item, Message):
                yield b"("
                yield from _message(item, path)
                yield b")"
            else:
                yield from _counted(item if isinstance(item, bytes) else str(item).encode())


def _tensor(tensor: TensorProto, path: Path) -> Iterator[bytes]:
    kind, shape = tensor.data_type, list(tensor.dims)
    yield from _counted(tensor.name.encode())
    yield f"{kind} {shape};".encode()
    if tensor.data_location == TensorProto.EXTERNAL:
        yield from external_elements(tensor, path)
    elif kind == TensorProto.STRING:
        for text in tensor.string_data:
            yield from _counted(text)
    elif tensor.HasField("raw_data"):
        yield tensor.raw_data
    else:
        bits = _bits(tensor, path)
        for name, layout in FIELDS.items():
            if values := getattr(tensor, name):
                narrow = kind == TensorProto.UINT32 and name == "uint64_data"
                yield np.array(values, layout).astype("<u4" if narrow else layout).tobytes()
        if tensor.int32_data:
            width = max(bits // 8, 1)  # 4-bit elements come packed in bytes
            yield np.array(tensor.int32_data, "<i4").astype(f"<i{width}").tobytes()


def external_elements(tensor: TensorProto, path: Path) -> Iterator[bytes]:
    """Yield a tensor's elements from the file that it names."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    count = int(np.prod(tensor.dims, dtype=object)) if tensor.dims else 1
    size = -(-count * _bits(tensor, path) // 8)
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size)))
    except ValueError:
        offset = length = -1
    if len(entries) < len(tensor.external_data) or offset < 0 or length != size or size < 0:
        raise MarginfaceError(
            f"{path}: tensor {tensor.name!a} has external data {_told(entries)!a}, which does not "
            f"fit its shape {list(tensor.dims)}; export or download the model again"
        )
    source = _beside(path, tensor.name, entries.get("location", ""))
    with source.open("rb") as file:
        file.seek(offset)
        while size:
            piece = file.read(min(size, BYTES_AT_ONCE))
            if not piece:
                raise MarginfaceError(
                    f"{source} ends before tensor {tensor.name!a} of {path} does; "
                    "copy or download it again"
                )
            size -= len(piece)
            yield piece


def _beside(path: Path, tensor: str, location: str) -> Path:
    """Return the file of external data that a model names: in the model's own folder only.

    Either of two is its own: where the model lies, and where a link to the model leads.
    """
    try:
        source = real_path(path.parent / location)
        folders = real_path(path.parent), real_path(path).parent
        inside = any(source.is_relative_to(folder) for folder in folders)
        exists = inside and source.is_file()
    except (OSError, ValueError):  # a name that the system does not take
        inside = exists = False
    if not exists:
        why = "does not exist; copy it there" if inside else "is not in the model's folder"
        raise MarginfaceError(
            f"{path} keeps tensor {tensor!a} in {location!a}, which {why}"
            + ("" if inside else "; it is not read")
        )
    return source


def _bits(tensor: TensorProto, path: Path) -> int:
    names: dict[int, str] = {number: name for name, number in TensorProto.DataType.items()}
    name = names.get(tensor.data_type, str(tensor.data_type))
    if name not in BITS:
        raise MarginfaceError(f"{path}: tensor {tensor.name!a} has elements of type {name}")
    return BITS[name]


def _told(entries: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in entries.items())[:200]


def _counted(content: bytes) -> Iterator[bytes]:
    yield f"{len(content)}:".encode()
    yield content
