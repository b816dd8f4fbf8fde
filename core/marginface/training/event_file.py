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

from marginface.text import printable


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _table()


def masked_crc32c(data: bytes) -> int:
    """Return TFRecord's checksum: CRC-32C (Castagnoli), rotated and offset.

    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


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


class EventFile:
    """A new event file in `folder`; `start_step` hides older events from that step on."""

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"events.out.tfevents.{int(time.time())}.marginface"
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._file: BinaryIO = (folder / f"{stem}.{number}").open("xb")
        self._event(_message(3, b"brain.Event:2"))
        session_log_start = _message(7, _number(1, 1))
        self._event(_number(2, start_step) + session_log_start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` at `step`."""
        body = b"".join(
            _message(
                1, _message(1, printable(tag).encode()) + struct.pack("<Bf", 2 << 3 | 5, value)
            )
            for tag, value in values.items()
        )
        self._event(_number(2, step) + _message(5, body))
        self._file.flush()

    def _event(self, body: bytes) -> None:
        record = struct.pack("<Bd", 1 << 3 | 1, time.time()) + body
        length = struct.pack("<Q", len(record))
        self._file.write(
            length
            + struct.pack("<I", masked_crc32c(length))
            + record
            + struct.pack("<I", masked_crc32c(record))
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
