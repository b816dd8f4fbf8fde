"""MXNet's RecordIO format, and the labelled images in it: as bytes and as a memory-mapped file.

A record is the word `MAGIC`, a word whose upper 3 bits tell the part of the record and whose lower
29 its length, the payload, and zeros up to 4 bytes; all little-endian. A payload with `MAGIC` at a
multiple of 4 is split there, and the word left out. (dmlc-core, include/dmlc/recordio.h)
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.mapped import map_file, record_offsets
from marginface.errors import MarginfaceError
from marginface.formats import begins

MAGIC = 0xCED7230A
MAGIC_BYTES = MAGIC.to_bytes(4, "little")
WHOLE, START, MIDDLE, END = range(4)
LONGEST = 2**29 - 1  # bytes of a part
# Labels are float32: 2**24 + 1 becomes 2**24, so from 2**24 on they are ambiguous.
LARGEST_LABEL = 2**24 - 1

_PART = struct.Struct("<II")  # magic; part and length
_HEADER = struct.Struct("<IfQQ")  # flag, label, id, second id


class Labelled(NamedTuple):
    """The contents of a labelled image's record.

    Attributes:
        flag: how many labels stand in front of the image; 0: the header's own label is the one.
        label: the first label.
        key: the record's number, by which the index file finds it.
        image: JPEG or PNG; empty where InsightFace tells which records belong to an identity.
    """

    flag: int
    label: float
    key: int
    image: bytes


def is_recordio(path: Path) -> bool:
    """Return whether a file begins with a record."""
    return begins(path, MAGIC_BYTES)


def frame(payload: bytes) -> bytes:
    """Return a record as it stands in a file.

    >>> frame(b"ab").hex()
    '0a23d7ce0200000061620000'

    Raises:
        MarginfaceError: the payload is longer than the format takes.
    """
    if len(payload) > LONGEST:
        raise MarginfaceError(f"a record takes at most {LONGEST} bytes, got {len(payload)}")
    parts = _split(payload)
    kinds = [WHOLE] if len(parts) == 1 else [START, *[MIDDLE] * (len(parts) - 2), END]
    framed = b"".join(
        _PART.pack(MAGIC, kind << 29 | len(part)) + part
        for kind, part in zip(kinds, parts, strict=True)
    )
    return framed + bytes(-len(payload) % 4)  # all parts but the last are of whole words


def _split(payload: bytes) -> list[bytes]:
    parts, begin = [], 0
    at = payload.find(MAGIC_BYTES)
    while at >= 0:
        if at % 4 == 0:
            parts.append(payload[begin:at])
            begin = at + 4
        at = payload.find(MAGIC_BYTES, begin if at % 4 == 0 else at + 1)
    return [*parts, payload[begin:]]


def pack_labelled(image: bytes, key: int, label: float | Sequence[float]) -> bytes:
    """Return the payload of a labelled image.

    Args:
        image: JPEG or PNG.
        key: the record's number.
        label: one, which goes into the header, or several, float32, behind it.

    Raises:
        MarginfaceError: a label that float32 does not tell from its neighbours, or is no whole
            number from 0.

    >>> pack_labelled(b"JPEG", 1, 2**24 + 1)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: record 1 would have the label 16777217, expected a whole \
number from 0 to 16777215, which float32 tells apart
    """
    for number in label if isinstance(label, Sequence) else [label]:
        if not exact(number):
            raise MarginfaceError(
                f"record {key} would have the label {number}, expected a whole number from 0 to "
                f"{LARGEST_LABEL}, which float32 tells apart"
            )
    if isinstance(label, Sequence):
        labels = struct.pack(f"<{len(label)}f", *label)
        return _HEADER.pack(len(label), 0, key, 0) + labels + image
    return _HEADER.pack(0, label, key, 0) + image


def exact(label: float) -> bool:
    """Return whether a label is a whole number that float32 tells from its neighbours.

    >>> [exact(label) for label in (0, 2**24 - 1, 2**24, -1, 0.5, float("nan"))]
    [True, True, False, False, False, False]
    """
    return 0 <= label <= LARGEST_LABEL and label == int(label)


def unpack_labelled(payload: bytes, where: str) -> Labelled:
    """Unpack the payload of a labelled image.

    Raises:
        MarginfaceError: it is too short for what its header tells; the message begins with `where`.
    """
    if len(payload) < _HEADER.size:
        raise MarginfaceError(
            f"{where}: {len(payload)} bytes, expected a header of {_HEADER.size} and an image"
        )
    flag, label, key, _ = _HEADER.unpack_from(payload)
    begin = _HEADER.size + 4 * flag
    if begin > len(payload):
        raise MarginfaceError(
            f"{where}: {len(payload)} bytes, but its header announces {flag} labels of 4 bytes"
        )
    if flag:
        (label,) = struct.unpack_from("<f", payload, _HEADER.size)
    return Labelled(flag, label, key, payload[begin:])


class RecordFile:
    """A RecordIO file, memory-mapped; it may be read from several threads, and pickled.

    Raises:
        MarginfaceError: it cannot be read, or is too short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap = map_file(path, _PART.size)
        self.size = len(self._map)

    def __reduce__(self) -> tuple[type[RecordFile], tuple[Path]]:
        return RecordFile, (self.path,)

    def read(self, offset: int) -> bytes:
        """Return the payload of the record that begins at byte `offset`.

        Raises:
            MarginfaceError: no whole record begins there.
        """
        return MAGIC_BYTES.join(self._map[begin:end] for begin, end in self._parts(offset))

    def image(self, offset: int) -> bytes:
        """Return the encoded image of the record that begins at byte `offset`; raises as `read`."""
        return self.labelled(offset).image

    def labelled(self, offset: int) -> Labelled:
        """Unpack the record that begins at byte `offset`; raises as `read`."""
        return unpack_labelled(self.read(offset), f"{self.path}: record at byte {offset}")

    def end(self, offset: int) -> int:
        """Return the byte behind the record that begins at byte `offset`; raises as `read`."""
        return _padded(self._parts(offset)[-1][1])

    def offsets(self) -> NDArray[np.int64]:
        """List the bytes where records begin; see `record_offsets`."""
        return record_offsets(self)

    def words(self) -> NDArray[np.uint32]:
        """Return the file as little-endian words, not copied."""
        return np.frombuffer(self._map, "<u4", self.size // 4)

    def _parts(self, offset: int) -> list[tuple[int, int]]:
        """Return begin and end of each part of a record's payload."""
        parts: list[tuple[int, int]] = []
        at, kind = offset, START
        while kind not in (WHOLE, END):
            kind, length = self._part(at, offset)
            if kind not in ((MIDDLE, END) if parts else (WHOLE, START)):
                raise self._damaged(offset, f"an unexpected part of kind {kind} at byte {at}")
            parts.append((at + _PART.size, at + _PART.size + length))
            at = _padded(parts[-1][1])
        return parts

    def _part(self, at: int, offset: int) -> tuple[int, int]:
        if at < 0 or at % 4:
            raise self._damaged(offset, "records begin at multiples of 4")
        if at + _PART.size > self.size:
            raise self._damaged(offset, f"the file ends at byte {self.size}")
        magic, word = _PART.unpack_from(self._map, at)
        if magic != MAGIC:
            raise self._damaged(offset, f"no record's magic word at byte {at}")
        kind, length = word >> 29, word & LONGEST
        if _padded(at + _PART.size + length) > self.size:
            needed = _padded(at + _PART.size + length)
            raise self._damaged(
                offset, f"the file ends at byte {self.size}, the record at byte {needed}"
            )
        return kind, length

    def _damaged(self, offset: int, why: str) -> MarginfaceError:
        return MarginfaceError(
            f"{self.path}: cannot read the record at byte {offset}: {why}; restore the file"
        )


def _padded(end: int) -> int:
    return (end + 3) // 4 * 4
