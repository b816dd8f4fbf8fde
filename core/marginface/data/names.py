"""Names of images: which are taken, everywhere alike, and how they become files and text.

A name has parts between forward slashes, `identity/image` in a training set. Whatever a file can be
called is taken: with colons, tildes, quotes, line breaks. Only what is hidden or leads out of a
folder is not, and where a name becomes a file on Windows, what that system refuses.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from marginface.errors import MarginfaceError
from marginface.text import ESCAPED, JOINERS, to_system

LONGEST = 255  # bytes of one part: what common file systems take
HIDDEN = "."  # at the beginning of a part
NEVER = "/\0"  # in a part
WINDOWS = os.name == "nt"
NOT_ON_WINDOWS = frozenset([*map(chr, range(32)), *'\\:*?"<>|\x7f'])
# What a line of a record file's list cannot hold, and the backslash that stands for it.
UNHELD = re.compile(r"[\x01-\x1f\x7f\\]")


def image_path(root: Path, name: str) -> Path:
    """Return the path of an image in a folder, by the name that `folder_files` gives it."""
    return root / to_system(name)


def inner_path(root: Path, name: str) -> Path:
    """Return the path of a new file under a folder, from its name.

    >>> inner_path(Path("faces"), "ann/1.jpg").as_posix()
    'faces/ann/1.jpg'
    >>> inner_path(Path("faces"), "ann/../../1.jpg")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: 'ann/../../1.jpg' does not do for a file in a folder; \
expected such as IDENTITY/IMAGE, each of at most 255 bytes and without a leading dot

    Raises:
        MarginfaceError: the name leads out of the folder, is hidden there, is too long, or this
            system has no such files.
    """
    parts = name.split("/")
    _require_names(name, parts)
    if WINDOWS and not all(map(_on_windows, parts)):
        raise MarginfaceError(
            f"{name[:80]!r} does not do for a file on Windows; pack to a .rec or .tfrecord, which "
            "takes any name"
        )
    return image_path(root, name)


def split_name(name: str) -> tuple[str, str]:
    """Return identity and file of an image's name.

    >>> split_name("ann/1.jpg")
    ('ann', '1.jpg')

    Raises:
        MarginfaceError: it has other parts, or is no name of an image.
    """
    parts = name.split("/")
    _require_names(name, parts)
    if len(parts) != 2:
        raise MarginfaceError(f"cannot pack {name[:80]!r}; expected a name IDENTITY/IMAGE")
    return parts[0], parts[1]


def escaped(name: str) -> str:
    r"""Return a name as record files hold it: control characters and backslashes are escaped.

    `from_utf8` gives the name back.

    >>> print(escaped("new\nline\\1.jpg"))
    new\x0aline\x5c1.jpg
    """
    return UNHELD.sub(lambda match: _bytes(match[0]), name)


def listed(name: str) -> str:
    r"""Return a name as lists of pairs hold it: in UTF-8, and such that it is read as it was.

    Quotes, blanks at the ends and characters without ink are escaped, too.

    >>> print(listed(' "Al"/1\udce9.jpg'))
    \x20\x22Al\x22/1\xe9.jpg
    """
    text = "".join(each if _has_ink(each) and each not in '"\\' else _bytes(each) for each in name)
    return re.sub("^ +| +$", lambda match: r"\x20" * len(match[0]), text)


def is_listed(text: str) -> bool:
    """Return whether a name may be one that `listed` made: nothing in it acts, or hides."""
    plain = ESCAPED.sub("", text)
    return "\\" not in plain and all(map(_has_ink, plain))


def _has_ink(character: str) -> bool:
    return character.isprintable() or character in JOINERS


def _bytes(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode(errors="surrogateescape"))


def _require_names(name: str, parts: list[str]) -> None:
    if not all(map(_is_name, parts)):
        raise MarginfaceError(
            f"{name[:80]!r} does not do for a file in a folder; expected such as IDENTITY/IMAGE, "
            f"each of at most {LONGEST} bytes and without a leading dot"
        )


def _is_name(part: str) -> bool:
    try:
        length = len(part.encode(errors="surrogateescape"))
    except UnicodeEncodeError:  # half a character, which no file's name can be
        return False
    return 0 < length <= LONGEST and part[0] != HIDDEN and "\0" not in part


def _on_windows(part: str) -> bool:
    return part[-1] not in " ." and NOT_ON_WINDOWS.isdisjoint(part)
