"""Read what `torch.save` writes, without PyTorch: a zip since 1.6, a row of pickles before.

Nothing of a file is run: see `machine` and `tensors`.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from marginface.errors import MarginfaceError
from marginface.pickles.machine import Machine, Refused, Unfit
from marginface.pickles.opcodes import PLAIN, Opcodes, run
from marginface.pickles.tensors import ItemType, Storage, admitted

ZIP = b"PK\x03\x04"
ROW = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of MAGIC
BEGINS = (ZIP, ROW)
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of a row of pickles
ZIP_ERRORS = (  # what zipfile raises on broken files
    *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, struct.error),
)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of name and extra field
ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}


def read_torch_file(path: Path) -> Any:
    """Return what a file of `torch.save` holds: dictionaries, lists, numbers, text, `Tensor`.

    A tensor's numbers are read where its `array()` is called.

    Raises:
        MarginfaceError: it is none, damaged, or holds anything else, which is named.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == ZIP
        return _read_zip(path) if zipped else _read_row(path)
    except Refused as refused:
        raise MarginfaceError(
            f"{path} holds other objects, expected a plain state_dict saved by torch.save: it asks "
            f"for {refused}, and nothing of it was run; save model.state_dict() again"
        ) from None
    except Unfit as unfit:
        raise MarginfaceError(
            f"{path} holds damaged data, expected a plain state_dict saved by torch.save: {unfit}; "
            "restore it, or save model.state_dict() again"
        ) from None


class _Storages:
    """The storages that a file's pickle names, each once.

    Args:
        path: the file.
        place: sets where a storage lies, where that is known before it is read.
    """

    def __init__(self, path: Path, place: Callable[[str, Storage], None] | None = None) -> None:
        self.path, self.size = path, path.stat().st_size
        self.known: dict[str, Storage] = {}
        self._place = place

    def __call__(self, name: Any) -> Storage:
        """Return the storage of a name, ("storage", type, key, device, count)."""
        if not isinstance(name, tuple) or len(name) not in (5, 6) or name[0] != "storage":
            raise Unfit("a storage's name expected")
        _, kind, key, _, count = name[:5]
        if not isinstance(kind, ItemType) or not isinstance(key, str):
            raise Unfit("a storage's type and key expected")
        if not isinstance(count, int) or not 0 <= count * kind.size <= self.size:
            raise Unfit(f"a storage of {str(count)[:30]} numbers, more than the file can hold")
        if name[5:] not in ((), (None,)):
            raise Unfit("a storage that is part of another")
        storage = self.known.get(key)
        if storage is None:
            storage = self.known[key] = Storage(self.path, self.size, kind, count)
            if self._place is not None:
                self._place(key, storage)
        if (storage.type, storage.count) != (kind, count):
            raise Unfit(f"two storages with the key {key[:40]!r}")
        return storage


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            total = len(archive.infolist())
    except ZIP_ERRORS as error:
        raise Unfit(str(error)) from None
    size = path.stat().st_size
    for entry in entries.values():
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Unfit(f"its entry {entry.filename[:80]!r} is compressed or encrypted")
    if len(entries) != total or sum(entry.file_size for entry in entries.values()) > size:
        raise Unfit("its entries lie on one another")
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Unfit("it is a zip without data.pkl")
    root = roots[0]
    if f"{root}constants.pkl" in entries:
        raise Refused("a TorchScript program")

    def begin(name: str) -> int:
        entry = entries[name]
        with path.open("rb") as file:
            file.seek(entry.header_offset)
            header = file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or header[:4] != ZIP:
            raise Unfit(f"its entry {name[:80]!r} is not where it should be")
        _, length, extra = LOCAL_HEADER.unpack(header)
        at: int = entry.header_offset + LOCAL_HEADER.size + length + extra
        if at + entry.file_size > size:
            raise Unfit(f"its entry {name[:80]!r} is longer than the file")
        return at

    def content(name: str) -> bytes:
        with path.open("rb") as file:
            file.seek(begin(name))
            return file.read(entries[name].file_size)

    order = content(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"
    if order not in ORDERS:
        raise Unfit(f"its order of bytes is {order[:20]!r}")

    def place(key: str, storage: Storage) -> None:
        name = f"{root}data/{key}"
        held = entries[name].file_size if name in entries else None
        if held != storage.count * storage.type.size:
            raise Unfit(f"storage {key[:40]!r} has {held} bytes, not those of its numbers")
        storage.at, storage.order = begin(name), ORDERS[order]

    pickle = content(f"{root}data.pkl")
    machine = Machine(pickle, admitted, file_size=size, keyed=_Storages(path, place))
    return run(machine, TENSORS)


def _read_row(path: Path) -> Any:
    """Read magic number, version, system, the value, keys of storages, then each one's numbers."""
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise Unfit("it is empty") from None
    if buffer[257:262] == b"ustar":
        raise Refused("a tar file of PyTorch before 0.1.11")
    storages = _Storages(path)
    at = 0

    def next_value() -> Any:
        nonlocal at
        machine = Machine(buffer, admitted, at=at, keyed=storages)
        value = run(machine, TENSORS)
        at = machine.at
        return value

    if next_value() != MAGIC or next_value() != VERSION:
        raise Unfit("it does not begin as a file of torch.save")
    next_value()  # of the system that wrote it: its order of bytes is not that of the numbers
    value, keys = next_value(), next_value()
    if not isinstance(keys, list):
        raise Unfit("a list of storages expected")
    for key in keys:
        storage = storages.known.get(key) if isinstance(key, str) else None
        if storage is None or storage.at >= 0:
            raise Unfit(f"a storage {str(key)[:40]!r} that nothing names, or a second time")
        count = int.from_bytes(buffer[at : at + 8], "little", signed=True)
        storage.at = at + 8
        at = storage.at + storage.count * storage.type.size
        if count != storage.count or at > len(buffer):
            raise Unfit(f"storage {key[:40]!r} has {count} numbers, expected {storage.count}")
    if any(storage.at < 0 for storage in storages.known.values()):
        raise Unfit("a storage is missing")
    return value


def _set_one(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


TENSORS: Opcodes = dict(PLAIN) | {
    ord(code): read
    for code, read in {
        "}": lambda m: m.push({}),
        "s": _set_one,
        "u": lambda m: m.set_items(m.pop_to_mark()),
        "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        "Q": Machine.outside,
        # sets, whose items need no order here
        "\x8f": lambda m: m.push([]),
        "\x90": lambda m: m.append(m.pop_to_mark()),
        # Python 2's strings are text
        "T": lambda m: m.text(m.take(m.number(4, signed=True))),
        "U": lambda m: m.text(m.take(m.number(1))),
    }.items()
}
