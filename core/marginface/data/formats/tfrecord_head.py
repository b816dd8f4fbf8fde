"""TFRecord files without any package: recognise one, compute short records' checksums."""

from __future__ import annotations

from pathlib import Path

SIZE = 12  # bytes
POLYNOMIAL = 0x82F63B78  # of CRC-32C, reflected


def is_tfrecord(path: Path) -> bool:
    """Return whether a file begins with the length of a record."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(SIZE)
    return len(head) == SIZE and masked(crc32c(head[:8])) == int.from_bytes(head[8:], "little")


def masked(crc: int) -> int:
    """Return a CRC-32C as the format stores it, rotated and shifted."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of a few bytes; slow.

    >>> hex(masked(crc32c(b"123456789")))
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL * (crc & 1)
    return crc ^ 0xFFFFFFFF
