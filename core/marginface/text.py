"""Escape text from outside, above all names, for a terminal, a table or a page."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

# Controls, halves of characters, line and paragraph separators, and what has no ink of its own:
# marks that turn the direction of text, hide in it, or make two names look alike.
ACTING = {"Cc", "Cs", "Zl", "Zp", "Cf"}
JOINERS = "\u200c\u200d"  # between letters of Persian or Hindi, and in emoji: spelling
LONGEST = 200  # characters of a foreign text in a message
BYTES = re.compile("[\udc80-\udcff]+")  # as Python carries bytes that it cannot decode
# A byte of a name, as `as_utf8` and lists of names write it: none of them is a dot or a slash.
ESCAPED = re.compile(r"\\x(0[1-9a-f]|1[0-9a-f]|2[02]|5c|7f|[89a-f][0-9a-f])")
SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    r"""Escape control characters: return text as one line that is harmless wherever it is shown.

    Letters of any script, spaces, combining marks and backslashes stay as they are, also where the
    system gave their UTF-8 as bytes. A byte of a file's name that is no UTF-8 becomes `\xNN`.

    >>> print(printable("José/\x1b[31m1\n.jpg"))
    José/\x1b[31m1\n.jpg
    """
    if text.isprintable():
        return text
    return "".join(map(_escaped, BYTES.sub(_decoded, text)))


def shown(value: object) -> str:
    """Return a value from outside for a message: a text or a whole number, cut short.

    Anything else is shown by its type alone: lists that hold one list several times, level by
    level, are small in memory and endless when written out.

    >>> shown("model"), shown(1001), shown([["model"]])
    ("'model'", '1001', 'of type list')
    """
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    return f"of type {type(value).__name__}"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "step"), counted(1000, "step")
    ('1 step', '1,000 steps')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names for a message, the first few of many.

    >>> listed("abcd", most=2)
    'a, b and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def brief(text: str) -> str:
    """Return the beginning of a foreign text, as `printable`, for a message.

    >>> brief("x" * 1000) == "x" * 200 + "..."
    True
    """
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def in_quotes(name: str) -> str:
    r"""Return the beginning of a name or a line from a file, as `printable`, for a message.

    >>> print(in_quotes("Jos\udce9.jpg"))
    'Jos\xe9.jpg'
    """
    return f"'{printable(name[:80])}'"


def as_utf8(name: str) -> str:
    r"""Return a name that UTF-8 can hold: an undecodable byte of a file's name becomes `\xNN`.

    >>> print(as_utf8("José\udcff.jpg"))
    José\xff.jpg
    """
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def from_utf8(name: str) -> str:
    r"""Return a name from what `as_utf8` made of it, or a list that escapes more.

    >>> from_utf8(r"José\xff\x20.jpg") == "José\udcff .jpg"
    True
    """
    return BYTES.sub(_decoded, ESCAPED.sub(_unescaped, name))


def from_system(path: str) -> str:
    """Return a path that the system gave as text that is the same whatever the locale: UTF-8.

    Where Python's UTF-8 is off, letters are bytes or other letters: names, and what is written of
    them, would differ from those that another locale gives. Bytes that are no UTF-8 stay.
    """
    return os.fsencode(path).decode(errors="surrogateescape")


def to_system(path: str) -> str:
    """Return a path as the system takes it, from what `from_system` made of it."""
    return os.fsdecode(path.encode(errors="surrogateescape"))


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return plain values, lists and dictionaries with each text in them changed, but for keys.

    >>> change_texts({"path": ["a", 1]}, str.upper)
    {'path': ['A', 1]}
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [change_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {name: change_texts(each, change) for name, each in value.items()}
    return value


def print_error(message: str) -> None:
    """Print an error that ends a command, as one line on standard error."""
    print(f"marginface: error: {printable(message)}", file=sys.stderr)


def _decoded(match: re.Match[str]) -> str:
    return match[0].encode(errors="surrogateescape").decode(errors="surrogateescape")


def _unescaped(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    return chr(code if code < 0x80 else 0xDC00 + code)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in ACTING or character in JOINERS:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries an undecodable byte
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
