"""The state that a pickle's opcodes change: a place in the file, a stack, a memo.

It makes no value but numbers, text, bytes, lists, tuples, dictionaries and what stands in for the
callables that it was told to admit.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from mmap import mmap
from typing import Any

DEPTH = 100  # of nested lists and tuples that are being read
# Values and memo entries: an image takes 2, as an array of protocol 2 some 18 in 300 bytes or more.
VALUES, BYTES_A_VALUE = 100_000, 16
NUMBER = re.compile(rb"-?[0-9]{1,19}L?")
QUOTES = (b"''", b'""')
# As Python 2's repr writes a string. Possessive: a backtracking match takes 150 times its memory.
ESCAPED = re.compile(rb"""(?:[^\\]++|\\[\\'"nrt]|\\x[0-9a-f]{2})*+""")


class Refused(Exception):
    """Names a callable that a file asks for and that is not admitted, short and printable."""

    def __init__(self, name: str) -> None:
        super().__init__("".join(c if c.isprintable() else "?" for c in name[:80]))


class Unfit(Exception):
    """Says what is wrong with a file."""


class Admitted:
    """A stand-in for a callable.

    Args:
        name: of the real one.
        make: from its arguments to its value, None where they do not fit.
    """

    def __init__(self, name: str, make: Callable[[tuple[Any, ...]], Any]) -> None:
        self.name, self._make = name, make

    def __call__(self, arguments: tuple[Any, ...]) -> Any:
        """Return the value; raises Unfit for other arguments than expected."""
        value = self._make(arguments)
        if value is None:
            raise Unfit(f"arguments of {self.name} that no such file has")
        return value


class Machine:
    """Reads a file's opcodes; every method may raise Unfit where the file is damaged.

    Args:
        buffer: what holds the pickle.
        admitted: from module and name to what stands for it, None for what is refused.
        at: where the pickle begins.
        file_size: of the whole file, which bounds how many values the pickle may have.
        keyed: what stands for a value that lies outside of the pickle, from what names it.
    """

    def __init__(
        self,
        buffer: bytes | mmap,
        admitted: Callable[[str, str], Any],
        *,
        at: int = 0,
        file_size: int | None = None,
        keyed: Callable[[Any], Any] | None = None,
    ) -> None:
        self.buffer = buffer
        self.view = memoryview(buffer)
        self.admitted = admitted
        self.keyed = keyed
        self.at = self.start = at  # the next byte, and where the opcode being read begins
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.values_left = VALUES + (file_size or len(buffer)) // BYTES_A_VALUE
        self.bytes_left = len(buffer)  # that stand-ins may make: no more than the file holds

    def take(self, count: int) -> memoryview:
        """Return the next bytes, without copying them."""
        if count < 0 or count > len(self.buffer) - self.at:
            raise Unfit(f"{count} bytes announced, {len(self.buffer) - self.at} left")
        self.at += count
        return self.view[self.at - count : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """Return the next `size` bytes as a little-endian number."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        """Return the bytes up to the next end of line."""
        end = self.buffer.find(b"\n", self.at)
        if end < 0:
            raise Unfit("a line without an end")
        return bytes(self.take(end + 1 - self.at)[:-1])

    def decimal(self) -> int:
        """Return a line as a number."""
        line = self.line()
        if not NUMBER.fullmatch(line):
            raise Unfit("a number expected")
        return int(line.removesuffix(b"L"))

    def push(self, value: Any) -> None:
        """Put a value on the stack, within the bound."""
        self.spend()
        self.stack.append(value)

    def spend(self, count: int = 1) -> None:
        """Count values or memo entries."""
        self.values_left -= count
        if self.values_left < 0:
            raise Unfit("more values than a file of its size can need")

    def pop(self) -> Any:
        """Take the topmost value, which must be above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Unfit("a value is missing")
        return self.stack.pop()

    def pop_some(self, count: int) -> tuple[Any, ...]:
        """Take the topmost `count` values, in their order."""
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[Any]:
        """Take the values above the last mark."""
        if not self.marks:
            raise Unfit("a mark is missing")
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
            raise Unfit(f"memo {key} is missing")
        self.stack.append(self.memo[key])

    def mark(self) -> None:
        """Note the height of the stack."""
        if len(self.marks) == DEPTH:
            raise Unfit(f"more than {DEPTH} levels")
        self.marks.append(len(self.stack))

    def text(self, encoded: memoryview | bytes, encoding: str = "utf-8") -> None:
        """Push decoded text."""
        try:
            self.push(codecs.decode(encoded, encoding, "surrogatepass"))
        except UnicodeDecodeError:
            raise Unfit(f"text that is no {encoding}") from None

    def integer(self) -> None:
        """Push the number, or the flag (00 or 01), of a line."""
        flags = {b"00": False, b"01": True}
        line = bytes(self.view[self.at : self.at + 3])
        value = self.decimal()
        self.push(flags.get(line[:2], value) if line[2:] == b"\n" else value)

    def quoted(self) -> None:
        """Push the bytes of a line that is a Python 2 string as `repr` writes it."""
        line = self.line()
        text = line[1:-1]
        if len(line) < 2 or line[:1] + line[-1:] not in QUOTES or not ESCAPED.fullmatch(text):
            raise Unfit("a quoted string expected")
        self.push(codecs.escape_decode(text)[0])

    def append(self, values: list[Any]) -> None:
        """Add values to the topmost list."""
        target = self.pop()
        if not isinstance(target, list):
            raise Unfit("a list expected")
        target.extend(values)
        self.stack.append(target)

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turns, into the topmost dictionary; see `is_key`."""
        target = self.pop()
        if not isinstance(target, dict) or len(items) % 2:
            raise Unfit("a dictionary with a value for each key expected")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if is_key(key):
                target[key] = value
        self.stack.append(target)

    def outside(self) -> None:
        """Push what stands for a value outside of the pickle."""
        name = self.pop()
        assert self.keyed is not None
        self.push(self.keyed(name))

    def named(self, module: Any, name: Any) -> None:
        """Push the stand-in for a callable, or refuse it by name."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Unfit("a name expected")
        stand_in = self.admitted(module, name)
        if stand_in is None:
            raise Refused(f"{module}.{name}")
        self.push(stand_in)

    def reduce(self) -> None:
        """Push what a stand-in makes of its arguments."""
        function, arguments = self.pop_some(2)
        if not isinstance(function, Admitted) or not isinstance(arguments, tuple):
            raise Unfit("a call of what cannot be called")
        value = function(arguments)
        if isinstance(value, dict):  # one list can become many dictionaries
            self.spend(len(value))
        if isinstance(value, bytes) and not any(value is argument for argument in arguments):
            self.bytes_left -= len(value)
            if self.bytes_left < 0:
                raise Unfit("more bytes than the file has")
        self.push(value)

    def build(self) -> None:
        """Fill the topmost array."""
        target, state = self.pop_some(2)
        if not hasattr(target, "fill"):
            raise Unfit("a state for what has none")
        target.fill(state)
        self.stack.append(target)


def is_key(key: Any) -> bool:
    """Return whether a key is text or a number of 64 bits, as those of weights are.

    What others name is left out: the hash of a tuple can take without end.
    """
    return isinstance(key, str) or (isinstance(key, int) and -(2**63) <= key < 2**63)
