"""PyTorch's files since 1.6: a zip of one pickle and of each storage, uncompressed."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

from marginface import zips
from marginface.pickles.machine import Refused, Unfit
from marginface.pickles.storages import Storages, read_value
from marginface.pickles.tensors import Storage
from marginface.text import shown

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of name and extra field
ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}


class TorchZip:
    """An archive and where its entries lie; checksums are not compared, as PyTorch does not.

    Raises:
        Refused: it is a program.
        Unfit: it is damaged, or its entries do not lie in it as they are.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        try:
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise Refused("a TorchScript program")  # whose code is compressed
                self.entries = zips.stored_entries(archive, self.size)
        except zips.ERRORS as error:
            raise Unfit(str(error)) from None

    def begin(self, name: str) -> int:
        """Return the byte where an entry's content begins; raise if it is cut short."""
        entry = self.entries[name]
        header = b""
        if 0 <= entry.header_offset < self.size:
            with self.path.open("rb") as file:
                file.seek(entry.header_offset)
                header = file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(zips.BEGIN):
            raise Unfit(f"entry {name[:80]!r} is not where it should be")
        _, length, extra = LOCAL_HEADER.unpack(header)
        begin: int = entry.header_offset + LOCAL_HEADER.size + length + extra
        if begin + entry.file_size > self.size:
            raise Unfit(f"entry {name[:80]!r} is longer than the file")
        return begin

    def content(self, name: str) -> bytes:
        """Return the bytes of an entry."""
        with self.path.open("rb") as file:
            file.seek(self.begin(name))
            return file.read(self.entries[name].file_size)


def read_zip(path: Path) -> Any:
    """Read the value of a file; raises as `read_value`."""
    archive = TorchZip(path)
    roots = [name[: -len("data.pkl")] for name in archive.entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Unfit("it is a zip without data.pkl")
    (root,) = roots
    order = b"little"
    if f"{root}byteorder" in archive.entries:
        order = archive.content(f"{root}byteorder")
    if order not in ORDERS:
        raise Unfit(f"its order of bytes is {order[:20]!r}")

    def place(key: str, storage: Storage) -> None:
        name = f"{root}data/{key}"
        held = archive.entries[name].file_size if name in archive.entries else 0
        if name not in archive.entries or held != storage.count * storage.type.size:
            raise Unfit(f"storage {shown(key)} has {held} bytes, not those of its numbers")
        storage.at, storage.order = archive.begin(name), ORDERS[order]

    return read_value(archive.content(f"{root}data.pkl"), Storages(path, place))[0]
