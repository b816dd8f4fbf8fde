"""Read pickles that hold nothing but bytes, lists, flags and NumPy's byte arrays: no code is run.

Python's own unpickler is not used. This one knows the opcodes that such files need (protocols 0 to
5, https://docs.python.org/3/library/pickletools.html) and refuses the others; the few callables
that pickles name for bytes and arrays are stand-ins from `pickled_values`, the rest is refused by
name. What a file can make this one hold in memory is bounded by its size.
"""

from __future__ import annotations

import codecs
import pickletools
import re
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Any

from marginface.data.pickled_values import Admitted, Unfit, admitted
from marginface.errors import MarginfaceError

HIGHEST_PROTOCOL = 5
DEPTH = 100  # of nested lists and tuples that are being read
# Values and memo entries: an image takes 2, as an array of protocol 2 some 18 in 300 bytes or more.
VALUES, BYTES_A_VALUE = 100_000, 16
NUMBER = re.compile(rb"-?[0-9]{1,19}L?")
QUOTED = re.compile(  # as Python 2's repr writes a string
    rb"""(['"])(?:[^\\]|\\[\\'"nrt]|\\x[0-9a-f]{2})*\1"""
)


def load(buffer: bytes | mmap, where: str | Path) -> Any:
    """Return what a pickle holds: None, bool, int, str, list, tuple, bytes, `pickled_values.Array`.

    Bytes, of Python 2 too, are a memoryview of `buffer` where they lie there as they are.

    Args:
        buffer: a whole file.
        where: its name, for messages.

    Raises:
        MarginfaceError: it asks for anything else, or is damaged.

    >>> import pickle
    >>> load(pickle.dumps(([b"", True], None), protocol=2), "flags")
    ([b'', True], None)
    >>> load(pickle.dumps(print), "a.bin")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: a.bin asks for builtins.print, which no verification set \
needs; it was refused and nothing of it was run: get the file from a source that you trust
    """
    return _Reader(buffer, where).run()


class _Damaged(Exception):
    """What is wrong with the file."""


class _Reader:
    """A stack machine over the opcodes.

    Args:
        buffer: the file.
        where: its name, for messages.
    """

    def __init__(self, buffer: bytes | mmap, where: str | Path) -> None:
        self.buffer, self.where = buffer, where
        self.view = memoryview(buffer)
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.values_left = VALUES + len(buffer) // BYTES_A_VALUE
        self.bytes_left = len(buffer)  # that callables may make: each is in the file, once

    def run(self) -> Any:
        """Read up to STOP and return the value that is left."""
        start = 0
        try:
            while True:
                start = self.at
                code = self.take(1)[0]
                if code == ord("."):
                    break
                read = READERS.get(code)
                if read is None:
                    raise self.refusal(self.unknown(code))
                read(self)
            value = self.pop()
            if self.stack or self.marks:
                raise _Damaged(f"{len(self.stack) + len(self.marks)} values are left over")
            if self.at != len(self.buffer):
                raise _Damaged(f"{len(self.buffer) - self.at} bytes follow its end")
        except (_Damaged, Unfit) as error:
            raise MarginfaceError(
                f"{self.where} is cut short, damaged or no verification set: {error} (at byte "
                f"{start} of {len(self.buffer)}); restore it or make it again"
            ) from None
        return value

    def unknown(self, code: int) -> str:
        """Return what an opcode asks for that is not read here."""
        if code == ord("i"):  # INST: the opcode holds the name
            return f"{self.line().decode('latin-1')}.{self.line().decode('latin-1')}"
        for known in pickletools.opcodes:
            if known.code == chr(code):
                return f"the pickle opcode {known.name}"
        raise _Damaged(f"no pickle has an opcode {code:#04x}")

    def refusal(self, what: str) -> MarginfaceError:
        """Return the error for what is not admitted."""
        printable = "".join(c if c.isprintable() else "?" for c in what[:80])
        return MarginfaceError(
            f"{self.where} asks for {printable}, which no verification set needs; it was refused "
            "and nothing of it was run: get the file from a source that you trust"
        )

    # Reading

    def take(self, count: int) -> memoryview:
        """Return the next bytes, without copying them."""
        if count < 0 or count > len(self.buffer) - self.at:
            raise _Damaged(f"{count} bytes announced, {len(self.buffer) - self.at} left")
        self.at += count
        return self.view[self.at - count : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """Return the next `size` bytes as a little-endian number."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        """Return the bytes up to the next end of line."""
        end = self.buffer.find(b"\n", self.at)
        if end < 0:
            raise _Damaged("a line without an end")
        return bytes(self.take(end + 1 - self.at)[:-1])

    def decimal(self) -> int:
        """Return a line as a number."""
        line = self.line()
        if not NUMBER.fullmatch(line):
            raise _Damaged("a number expected")
        return int(line.removesuffix(b"L"))

    # The stack

    def push(self, value: Any) -> None:
        """Put a value on the stack, within the bound."""
        self.spend()
        self.stack.append(value)

    def spend(self) -> None:
        """Count a value or a memo entry."""
        self.values_left -= 1
        if self.values_left < 0:
            raise _Damaged("more values than a file of its size can need")

    def pop(self) -> Any:
        """Take the topmost value, which must be above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Damaged("a value is missing")
        return self.stack.pop()

    def pop_some(self, count: int) -> tuple[Any, ...]:
        """Take the topmost `count` values, in their order."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[Any]:
        """Take the values above the last mark."""
        if not self.marks:
            raise _Damaged("a mark is missing")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def remember(self, key: int) -> None:
        """Put the topmost value into the memo."""
        self.spend()
        value = self.pop()
        self.stack.append(value)
        self.memo[key] = value

    def recall(self, key: int) -> None:
        """Put a value from the memo on the stack."""
        if key not in self.memo:
            raise _Damaged(f"memo {key} is missing")
        self.stack.append(self.memo[key])

    # Opcodes that take more than a line

    def mark(self) -> None:
        """Note the height of the stack."""
        if len(self.marks) == DEPTH:
            raise _Damaged(f"more than {DEPTH} levels")
        self.marks.append(len(self.stack))

    def text(self, encoded: memoryview | bytes, encoding: str = "utf-8") -> None:
        """Push decoded text."""
        try:
            self.push(codecs.decode(encoded, encoding, "surrogatepass"))
        except UnicodeDecodeError:
            raise _Damaged(f"text that is no {encoding}") from None

    def integer(self) -> None:
        """Push the number, or the flag (00 or 01), of a line."""
        flags = {b"00": False, b"01": True}
        line = bytes(self.view[self.at : self.at + 3])
        value = self.decimal()
        self.push(flags.get(line[:2], value) if line[2:] == b"\n" else value)

    def quoted(self) -> None:
        """Push the bytes of a line that is a Python 2 string as `repr` writes it."""
        line = self.line()
        if not QUOTED.fullmatch(line):
            raise _Damaged("a quoted string expected")
        self.push(codecs.escape_decode(line[1:-1])[0])

    def append(self, values: list[Any]) -> None:
        """Add values to the topmost list."""
        target = self.pop()
        if not isinstance(target, list):
            raise _Damaged("a list expected")
        target.extend(values)
        self.stack.append(target)

    def named(self, module: Any, name: Any) -> None:
        """Push the stand-in for a callable, or refuse it by name."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _Damaged("a name expected")
        found = admitted(module, name)
        if found is None:
            raise self.refusal(f"{module}.{name}")
        self.push(found)

    def reduce(self) -> None:
        """Push what a stand-in makes of its arguments."""
        function, arguments = self.pop_some(2)
        if not isinstance(function, Admitted) or not isinstance(arguments, tuple):
            raise _Damaged("a call of what cannot be called")
        value = function(arguments)
        if isinstance(value, bytes):
            self.bytes_left -= len(value)
            if self.bytes_left < 0:
                raise _Damaged("more bytes than the file has")
        self.push(value)

    def build(self) -> None:
        """Fill the topmost array."""
        target, state = self.pop_some(2)
        if not hasattr(target, "fill"):
            raise _Damaged("a state for what has none")
        target.fill(state)
        self.stack.append(target)


def _append_one(reader: _Reader) -> None:
    reader.append([reader.pop()])


def _frame(reader: _Reader) -> None:
    if reader.number(8) > len(reader.buffer) - reader.at:
        raise _Damaged("a frame that is longer than the file")


def _protocol(reader: _Reader) -> None:
    version = reader.number(1)
    if version > HIGHEST_PROTOCOL:
        raise _Damaged(f"pickle protocol {version}, at most {HIGHEST_PROTOCOL} is known")


def _global(reader: _Reader) -> None:
    reader.named(*(reader.line().decode("latin-1") for _ in range(2)))


READERS: dict[int, Callable[[_Reader], None]] = {
    ord(code): read
    for code, read in {
        # flags and numbers
        "N": lambda r: r.stack.append(None),
        "\x88": lambda r: r.stack.append(True),
        "\x89": lambda r: r.stack.append(False),
        "I": _Reader.integer,
        "J": lambda r: r.push(r.number(4, signed=True)),
        "K": lambda r: r.push(r.number(1)),
        "M": lambda r: r.push(r.number(2)),
        "L": lambda r: r.push(r.decimal()),
        "\x8a": lambda r: r.push(r.number(r.number(1), signed=True)),
        # bytes, Python 2's strings among them
        "S": _Reader.quoted,
        "T": lambda r: r.push(r.take(r.number(4, signed=True))),
        "U": lambda r: r.push(r.take(r.number(1))),
        "B": lambda r: r.push(r.take(r.number(4))),
        "C": lambda r: r.push(r.take(r.number(1))),
        "\x8e": lambda r: r.push(r.take(r.number(8))),
        "\x96": lambda r: r.push(r.take(r.number(8))),
        # text
        "V": lambda r: r.text(r.line(), "raw-unicode-escape"),
        "X": lambda r: r.text(r.take(r.number(4))),
        "\x8c": lambda r: r.text(r.take(r.number(1))),
        "\x8d": lambda r: r.text(r.take(r.number(8))),
        # lists and tuples
        "(": _Reader.mark,
        "]": lambda r: r.push([]),
        "l": lambda r: r.push(r.pop_to_mark()),
        "a": _append_one,
        "e": lambda r: r.append(r.pop_to_mark()),
        ")": lambda r: r.push(()),
        "t": lambda r: r.push(tuple(r.pop_to_mark())),
        "\x85": lambda r: r.push(r.pop_some(1)),
        "\x86": lambda r: r.push(r.pop_some(2)),
        "\x87": lambda r: r.push(r.pop_some(3)),
        # callables
        "c": _global,
        "\x93": lambda r: r.named(*r.pop_some(2)),
        "R": _Reader.reduce,
        "b": _Reader.build,
        # the memo
        "g": lambda r: r.recall(r.decimal()),
        "h": lambda r: r.recall(r.number(1)),
        "j": lambda r: r.recall(r.number(4)),
        "p": lambda r: r.remember(r.decimal()),
        "q": lambda r: r.remember(r.number(1)),
        "r": lambda r: r.remember(r.number(4)),
        "\x94": lambda r: r.remember(len(r.memo)),
        # the frame
        "\x80": _protocol,
        "\x95": _frame,
    }.items()
}
