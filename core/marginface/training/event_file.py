"""TensorBoard event files with scalars: a TFRecord file of `Event` protocol buffers.

Written here in some lines because tensorboardX imports torch wherever torch is installed, into
a TensorFlow run too, and puts the host's name into the file's name.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Self

from marginface.atomic import naming
from marginface.data.formats.tfrecord_head import crc32c, masked
from marginface.text import printable


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked(crc32c(data)))


class EventFile:
    """A new event file in `folder`; `start_step` hides older events from that step on."""

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"events.out.tfevents.{int(time.time())}.marginface"
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._path = folder / f"{stem}.{number}"
        self._file: BinaryIO = self._path.open("xb")
        self._event(_message(3, b"brain.Event:2"))
        session_log_start = _message(7, _number(1, 1))
        self._event(_number(2, start_step) + session_log_start)
        self._flush()  # a full disk is found before the first step

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` at `step`."""
        body = b"".join(
            _message(
                1, _message(1, printable(tag).encode()) + struct.pack("<Bf", 2 << 3 | 5, value)
            )
            for tag, value in values.items()
        )
        self._event(_number(2, step) + _message(5, body))
        self._flush()

    def _flush(self) -> None:
        with naming(self._path, self._path):
            self._file.flush()

    def _event(self, body: bytes) -> None:
        record = struct.pack("<Bd", 1 << 3 | 1, time.time()) + body
        length = struct.pack("<Q", len(record))
        self._file.write(length + _checksum(length) + record + _checksum(record))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
