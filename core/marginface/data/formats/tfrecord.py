"""TFRecord files of labelled images, without TensorFlow.

A record is its length (8 bytes), the length's checksum (4), the data and the data's checksum (4),
little-endian. The data here is a `tf.train.Example`. Checksums are CRC-32C, rotated and shifted.
(tensorflow/core/lib/io/record_writer.h, tensorflow/core/example/example.proto)
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.example import ImageExample, parse_example
from marginface.data.formats.mapped import map_file, record_offsets
from marginface.data.formats.tfrecord_head import masked
from marginface.errors import MarginfaceError
from marginface.extras import needs

with needs("data"):
    import google_crc32c

_HEAD = struct.Struct("<QI")  # length and its checksum
_FOOT = struct.Struct("<I")  # checksum of the data


def masked_crc(data: bytes) -> int:
    """Return the checksum that the format has of bytes.

    >>> hex(masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    return masked(google_crc32c.value(data))


def frame(data: bytes) -> bytes:
    """Return a record as it stands in a file."""
    length = len(data).to_bytes(8, "little")
    head = length + _FOOT.pack(masked_crc(length))
    return head + data + _FOOT.pack(masked_crc(data))


class TFRecordFile:
    """A TFRecord file, memory-mapped; it may be read from several threads, and pickled.

    Raises:
        MarginfaceError: it cannot be read, or is too short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap = map_file(path, _HEAD.size + _FOOT.size)
        self.size = len(self._map)

    def __reduce__(self) -> tuple[type[TFRecordFile], tuple[Path]]:
        return TFRecordFile, (self.path,)

    def read(self, offset: int) -> bytes:
        """Return the data of the record that begins at byte `offset`.

        Raises:
            MarginfaceError: no whole record begins there, or a checksum disagrees.
        """
        end = self.end(offset)
        data = self._map[offset + _HEAD.size : end - _FOOT.size]
        if _FOOT.unpack_from(self._map, end - _FOOT.size)[0] != masked_crc(data):
            raise self._damaged(offset, "the checksum of its data disagrees")
        return data

    def example(self, offset: int) -> ImageExample:
        """Return the image and label of the record that begins at byte `offset`.

        Raises:
            MarginfaceError: as `read`, or it is no labelled image.
        """
        return parse_example(self.read(offset), f"{self.path}: record at byte {offset}")

    def image(self, offset: int) -> bytes:
        """Return the encoded image of the record at byte `offset`; raises as `example`."""
        return self.example(offset).image

    def end(self, offset: int) -> int:
        """Return the byte behind the record that begins at byte `offset`; raises as `read`."""
        if offset < 0 or offset + _HEAD.size > self.size:
            raise self._damaged(offset, f"the file ends at byte {self.size}")
        length, crc = _HEAD.unpack_from(self._map, offset)
        if masked_crc(self._map[offset : offset + 8]) != crc:
            raise self._damaged(offset, "the checksum of its length disagrees")
        end: int = offset + _HEAD.size + length + _FOOT.size
        if end > self.size:
            raise self._damaged(
                offset, f"the file ends at byte {self.size}, the record at byte {end}"
            )
        return end

    def offsets(self) -> NDArray[np.int64]:
        """List the bytes where records begin, checking their lengths; see `record_offsets`."""
        return record_offsets(self)

    def _damaged(self, offset: int, why: str) -> MarginfaceError:
        return MarginfaceError(
            f"{self.path}: cannot read the record at byte {offset}: {why}; restore the file (an "
            "uncompressed TFRecord file)"
        )
