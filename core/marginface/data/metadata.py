"""Image files without what is no part of the picture, for where that is damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# TIFF tags without which the pixels cannot be told: sizes, codecs, strips, tiles, colours.
PIXEL_TAGS = frozenset(
    [
        *range(254, 260),
        *(262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325),
        *(332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532),
    ]
)
ORIENTATION = 274


def without_metadata(encoded: bytes, *, orientation: bool) -> bytes:
    """Return a JPEG, PNG, WebP or TIFF file with nothing but its picture; others as they are.

    Args:
        encoded: what the file holds.
        orientation: keep EXIF; of a TIFF file, keep its orientation.
    """
    try:
        if encoded.startswith(b"\xff\xd8\xff"):
            return b"\xff\xd8" + b"".join(_segments(encoded, orientation))
        if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
            return encoded[:8] + b"".join(_png_chunks(encoded, orientation))
        if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
            kept = b"WEBP" + b"".join(_riff_chunks(encoded, orientation))
            return b"RIFF" + struct.pack("<I", len(kept)) + kept
        if encoded.startswith((b"II*\0", b"MM\0*")):
            return _bare_tiff(encoded, orientation)
    except (struct.error, IndexError):  # it ends too early
        pass
    return encoded


def _segments(encoded: bytes, exif: bool) -> Iterator[bytes]:
    """Yield a JPEG's segments but comments and applications' (JFIF, EXIF and Adobe's stay)."""
    at = 2
    while True:
        marker, length = struct.unpack_from(">HH", encoded, at)
        segment = encoded[at : at + 2 + length]
        if marker == 0xFFDA or marker < 0xFFC0:  # the scan, or no marker
            yield encoded[at:]
            return
        told = marker == 0xFFFE or 0xFFE0 <= marker <= 0xFFEF
        if not told or marker in (0xFFE0, 0xFFEE) or (exif and segment[4:9] == b"Exif\0"):
            yield segment
        at += 2 + length


def _png_chunks(encoded: bytes, exif: bool) -> Iterator[bytes]:
    """Yield a PNG's critical chunks: their names begin with a capital letter."""
    at = 8
    while at < len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, at)
        if name[:1].isupper() or (exif and name == b"eXIf"):
            yield encoded[at : at + 12 + length]
        at += 12 + length


def _riff_chunks(encoded: bytes, exif: bool) -> Iterator[bytes]:
    """Yield a WebP's chunks but its colour profile, XMP and EXIF."""
    at = 12
    while at < len(encoded):
        name, length = struct.unpack_from("<4sI", encoded, at)
        padded = length + length % 2
        if name not in (b"ICCP", b"XMP ", b"EXIF") or (exif and name == b"EXIF"):
            yield encoded[at : at + 8 + padded]
        at += 8 + padded


def _bare_tiff(encoded: bytes, orientation: bool) -> bytes:
    """Return a TIFF file whose first directory keeps the pixels' tags, and which has no other."""
    order = "<" if encoded[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", encoded, 4)
    (count,) = struct.unpack_from(f"{order}H", encoded, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    kept = []
    for at in places:
        (tag,) = struct.unpack_from(f"{order}H", encoded, at)
        if tag in PIXEL_TAGS or (orientation and tag == ORIENTATION):
            kept.append(encoded[at : at + 12])
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return encoded[:start] + directory + encoded[start + len(directory) :]
