"""PyTorch's files before 1.6: pickles in a row, then the numbers of each storage.

The pickles are a magic number, a version, a description of the system, the value, and a list of
storages' keys. A storage is the count of its numbers, 8 bytes, and these, little-endian.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from marginface.pickles.machine import Refused, Unfit
from marginface.pickles.storages import Storages, read_value
from marginface.text import shown

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
BEGIN = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of MAGIC


def read_row(path: Path) -> Any:
    """Read the value of a file; raises as `read_value`."""
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise Unfit("it is empty") from None
    if buffer[257:262] == b"ustar":
        raise Refused("a tar file of PyTorch before 0.1.11")
    storages = Storages(path)
    magic, at = read_value(buffer, storages)
    if magic != MAGIC:
        raise Unfit("it does not begin as a file of torch.save")
    version, at = read_value(buffer, storages, at)
    if version != VERSION:
        raise Unfit(f"version {shown(version)} is not known, expected {VERSION}")
    _, at = read_value(buffer, storages, at)  # the system: its order of bytes is not the numbers'
    value, at = read_value(buffer, storages, at)
    keys, at = read_value(buffer, storages, at)
    if not isinstance(keys, list):
        raise Unfit("a list of storages expected")
    for key in keys:
        storage = storages.known.get(key) if isinstance(key, str) else None
        if storage is None or storage.at >= 0:
            raise Unfit(f"a storage {shown(key)} that nothing names, or a second time")
        count = int.from_bytes(buffer[at : at + 8], "little", signed=True)
        storage.at = at + 8
        at = storage.at + storage.count * storage.type.size
        if count != storage.count:
            raise Unfit(f"storage {shown(key)} has {count} numbers, expected {storage.count}")
        if at > len(buffer):
            raise Unfit(f"the file ends within storage {shown(key)}")
    if any(storage.at < 0 for storage in storages.known.values()):
        raise Unfit("a storage is missing")
    return value
