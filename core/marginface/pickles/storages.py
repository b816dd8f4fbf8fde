"""The pickles of PyTorch's files: their opcodes, and the storages that they name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Any

from marginface.pickles.machine import Machine, Unfit
from marginface.pickles.opcodes import PLAIN, Opcodes, run
from marginface.pickles.tensors import ItemType, Storage, admitted
from marginface.text import shown


class Storages:
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
        if not (isinstance(kind, ItemType) and isinstance(key, str) and isinstance(count, int)):
            raise Unfit("a storage's count, type and key expected")
        if not 0 <= count * kind.size <= self.size:
            raise Unfit(f"a storage of {shown(count)} numbers, more than the file can hold")
        if name[5:] not in ((), (None,)):
            raise Unfit("a storage that is part of another")
        storage = self.known.get(key)
        if storage is None:
            storage = self.known[key] = Storage(self.path, self.size, kind, count)
            if self._place is not None:
                self._place(key, storage)
        if (storage.type, storage.count) != (kind, count):
            raise Unfit(f"two storages with the key {shown(key)}")
        return storage


def read_value(buffer: bytes | mmap, storages: Storages, at: int = 0) -> tuple[Any, int]:
    """Read the pickle that begins at a byte; return its value and end; raises as `run`."""
    machine = Machine(buffer, admitted, at=at, file_size=storages.size, keyed=storages)
    return run(machine, TENSORS), machine.at


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
        # bytes are copied: the buffer is closed after reading
        "B": lambda m: m.push(bytes(m.take(m.number(4)))),
        "C": lambda m: m.push(bytes(m.take(m.number(1)))),
        "\x8e": lambda m: m.push(bytes(m.take(m.number(8)))),
        # sets, whose items need no order here
        "\x8f": lambda m: m.push([]),
        "\x90": lambda m: m.append(m.pop_to_mark()),
        # Python 2's strings are text
        "T": lambda m: m.text(m.take(m.number(4, signed=True))),
        "U": lambda m: m.text(m.take(m.number(1))),
    }.items()
}
