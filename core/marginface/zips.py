"""Zip archives with uncompressed entries, so that nothing read is larger than the file."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

BEGIN = b"PK\x03\x04"
ERRORS = (  # what zipfile raises on broken files
    *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, struct.error),
)
ENCRYPTED = 1  # a bit of an entry's flags


def names(path: Path) -> frozenset[str]:
    """Return the names of a zip's entries; none of a file that is no whole zip."""
    if not path.is_file():
        return frozenset()
    with path.open("rb") as file:
        if file.read(len(BEGIN)) != BEGIN:
            return frozenset()
        try:
            return frozenset(zipfile.ZipFile(file).namelist())
        except (OSError, *ERRORS):  # OSError: offsets may point before the file
            return frozenset()


def stored_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's entries by name.

    Args:
        archive: the archive.
        size: of its file, in bytes.

    Raises:
        BadZipFile: one is compressed or encrypted, two have one name or lie on one another.
    """
    entries = archive.infolist()
    named = {entry.filename: entry for entry in entries}
    if len(named) != len(entries):
        raise zipfile.BadZipFile("two entries have one name")
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & ENCRYPTED
        if not stored or entry.file_size != entry.compress_size:
            raise zipfile.BadZipFile(f"entry {entry.filename[:80]!r} is compressed or encrypted")
    if sum(entry.file_size for entry in entries) > size:
        raise zipfile.BadZipFile("its entries are larger than the file")
    return named
