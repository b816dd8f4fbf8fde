"""A look at a path before it is opened: what is no file could be waited for, or read, for ever."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from marginface.errors import MarginfaceError

OPENED = re.compile(r"/dev/(stdin|fd/[0-9]+)|/proc/(self|[0-9]+)/fd/[0-9]+")  # by the shell
PIPE = "a pipe"
KINDS = (
    (stat.S_ISFIFO, PIPE),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(path: str | Path) -> str:
    """Return what a path leads to: "a pipe", "a socket", "a device"; "" for file, folder, nothing.

    >>> special_kind("/dev/zero"), special_kind(".")
    ('a device', '')
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a third of pathlib's time
    except (OSError, ValueError):
        return ""
    return kind_of(mode)


def kind_of(mode: int) -> str:
    """Return what `special_kind` does, by the mode in a file's status."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # at once: images are asked one by one
        return ""
    return next((kind for holds, kind in KINDS if holds(mode)), "")


def require_regular(path: str | Path, expected: str = "", *, piped: bool = False) -> None:
    """Raise where a path leads to a pipe, a socket or a device; what is not there is no matter.

    Args:
        path: of a file or folder; links are followed.
        expected: what it ought to be, for the message.
        piped: take a pipe that the shell has opened, as `<(...)` does: for what is read once.

    Raises:
        MarginfaceError: it is none of these.
    """
    kind = special_kind(path)
    if kind and not (piped and kind == PIPE and OPENED.fullmatch(str(path))):
        raise MarginfaceError(
            f"{path} is no regular file but {kind}; "
            + (expected or "take it away, or save what it gives in a file")
        )


def real_path(path: Path) -> Path:
    """Return a path without links; links in a circle, which `Path.resolve` raises at, stay."""
    return Path(os.path.realpath(path))
