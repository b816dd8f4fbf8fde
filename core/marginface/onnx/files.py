"""ONNX files, with their tensors inside or, where those are too large for one, beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.atomic import naming, temporary_beside
from marginface.extras import needs
from marginface.onnx.digest import external_elements, load_graph, onnx_digest
from marginface.regular import require_regular

with needs("onnx"):
    import onnx
    from google.protobuf.message import Message
    from onnx import TensorProto, external_data_helper

LARGEST = 2**31 - 2**20  # bytes of a file: protobuf ends at 2 GiB


def data_beside(path: Path) -> Path:
    """Return the file that has the tensors of a model which is too large for one file.

    >>> data_beside(Path("models/m.onnx")).name
    'm.onnx.data'
    """
    return path.with_name(f"{path.name}.data")


def load_model(path: Path) -> onnx.ModelProto:
    """Return the model in a file with all its tensors, wherever it keeps them.

    Raises:
        MarginfaceError: as `onnx_digest`, which lets none lie outside the model's folder.
    """
    onnx_digest(path)
    model = load_graph(path)
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = b"".join(external_elements(tensor, path))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


def data_files(path: Path) -> list[Path]:
    """Return the files beside a model that it names as those of its tensors."""
    model = load_graph(path)
    names = (
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    )
    return [path.parent / name for name in dict.fromkeys(names)]


def write_model(model: onnx.ModelProto, path: Path, *, largest: int = LARGEST) -> None:
    """Write a model whole or not at all; one of more than `largest` bytes has its data beside."""
    with replacing_model(path) as part:
        save_model(model, part, largest=largest)


def save_model(model: onnx.ModelProto, path: Path, *, largest: int = LARGEST) -> None:
    """Write a model; if it is of more than `largest` bytes, its tensors go to a file beside it."""
    if not fits(model, largest):
        data = data_beside(path)
        external_data_helper.convert_model_to_external_data(model, location=data.name)
        onnx.save_model(model, path, format="protobuf")
        if data.exists():
            data.chmod(path.stat().st_mode)  # onnx lets its owner alone read it
    else:
        path.write_bytes(model.SerializeToString())


def fits(model: onnx.ModelProto, largest: int = LARGEST) -> bool:
    """Return whether a model is of at most `largest` bytes with its tensors in it."""
    tensors = sum(len(tensor.raw_data) for tensor in _tensors(model))
    return tensors <= largest and model.ByteSize() <= largest  # which fails above 2 GiB


@contextmanager
def replacing_model(path: Path) -> Iterator[Path]:
    """Yield a path to write a model to, and others beside it; it becomes `path` at the end.

    If the block raises, what was there stays. A kill between the renames leaves no model, never one
    with the data or the names of another.
    """
    require_regular(path, "give the name of a file to write")
    folder = temporary_beside(path)
    try:
        with naming(path, folder, inside=True):
            folder.mkdir()
            part = folder / path.name
            yield part
            written = list(folder.iterdir())
            for each in written:
                with each.open("r+b") as file:
                    os.fsync(file.fileno())
            beside = [each for each in written if each != part]
            if beside:
                path.unlink(missing_ok=True)
            for each in beside:
                each.replace(path.with_name(each.name))
            part.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Yield the tensors of a model, those of attributes and bodies, too."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from _tensors(each)
