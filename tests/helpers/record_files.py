"""Record files made by hand, word by word, and images to put into them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marginface.data.formats.folder import open_folder
from marginface.data.opening import open_images
from marginface.data.packing import training_sets
from marginface.data.sources import OpenOptions
from marginface.errors import MarginfaceError

MAGIC = b"\x0a\x23\xd7\xce"


def value_or_refusal(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return a function's value, or its error's message."""
    try:
        return function(*arguments, **options)
    except MarginfaceError as error:
        return str(error)


def refusal(path: Path, **options: Any) -> str:
    """Return the one line that says why images cannot be opened."""
    with pytest.raises(MarginfaceError) as caught:
        open_images(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def colours(images: Any) -> list[int]:
    return [int(images[number][0][0, 0, 0]) for number in range(len(images))]


def names(images: Any) -> list[str]:
    return [images.name(number) for number in range(len(images))]


def png(value: int, side: int = 112) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def part(kind: int, payload: bytes) -> bytes:
    """Return a part of a record: magic word, kind and length, payload, padding."""
    word = kind * 2**29 + len(payload)
    return MAGIC + struct.pack("<I", word) + payload + b"\0" * (-len(payload) % 4)


def header(key: int, label: float | Sequence[float]) -> bytes:
    """Return flag, label, id, second id, and several labels behind them."""
    if isinstance(label, Sequence):
        return struct.pack(f"<IfQQ{len(label)}f", len(label), 0.0, key, 0, *label)
    return struct.pack("<IfQQ", 0, label, key, 0)


def intact_offsets(records: Any) -> list[int]:
    """Return where each record of an open file begins, up to the first one that is damaged."""
    offsets: list[int] = []
    with suppress(MarginfaceError):
        at = 0
        while at < records.size:
            end = records.end(at)
            offsets.append(at)
            at = end
    return offsets


def write(path: Path, records: dict[int, bytes]) -> Path:
    """Write a .rec of framed records by their keys, in this order, and its .idx."""
    offset, lines = 0, []
    for key, record in records.items():
        lines.append(f"{key}\t{offset}\n")
        offset += len(record)
    path.write_bytes(b"".join(records.values()))
    path.with_suffix(".idx").write_text("".join(lines))
    return path


def image(key: int, label: float | Sequence[float], value: int) -> bytes:
    """Return the framed record of an image of one colour, modulo 256."""
    return part(0, header(key, label) + png(value % 256))


def pack(folder: Path, path: Path, size: tuple[int, int] = (112, 112)) -> Path:
    """Write the images of a folder to a .rec or .tfrecord, in the folder's order."""
    training_sets.pack(open_folder(folder, OpenOptions(check=True, size=size)), path)
    return path


def insightface(path: Path, labels: Sequence[float | Sequence[float]]) -> Path:
    """Write InsightFace's layout; image k (from 1) has the colour k. Record 0 comes last."""
    count = len(labels)
    own = [label if isinstance(label, float | int) else label[0] for label in labels]
    records = {key: image(key, label, key) for key, label in enumerate(labels, 1)}
    for number, label in enumerate(sorted(set(own))):
        begin, end = own.index(label) + 1, count - own[::-1].index(label) + 1
        key = count + 1 + number
        records[key] = part(0, header(key, [begin, end]))
    records[0] = part(0, header(0, [count + 1, count + 1 + len(set(own))]))
    return write(path, records)


def im2rec(path: Path, labels: Sequence[float]) -> Path:
    """Write what im2rec does: key k (from 0) is an image of the colour k."""
    return write(path, {key: image(key, label, key) for key, label in enumerate(labels)})
