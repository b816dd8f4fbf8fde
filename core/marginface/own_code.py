"""Code that is not marginface's: what it raises becomes one line, with the line of its file."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.errors import MarginfaceError, MissingPackageError

LONGEST = 300  # characters of what somebody's exception says
# Frames that say nothing to who wrote the code: ours, and the machinery of imports.
PASSED_OVER = {"importlib", "marginface", "marginface_torch", "marginface_tf"}


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Run code that may raise anything; what it raises names its place and follows `what`.

    >>> with in_one_line("the loss my_losses:Mine cannot be imported"):
    ...     raise KeyError("margin")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: the loss my_losses:Mine cannot be imported: \
KeyError: 'margin'
    """
    try:
        yield
    except MissingPackageError:
        raise
    except (Exception, SystemExit) as error:
        raise MarginfaceError(f"{what}: {said(error)}") from error


def said(error: BaseException) -> str:
    """Return an exception's message as one line, with the file and line that raised it."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if not isinstance(error, MarginfaceError):
        text = " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")[:LONGEST]
    where = _place(error)
    return text + (f" ({where[0]}, line {where[1]})" if where else "")


def _place(error: BaseException) -> tuple[str, int] | None:
    """Return the file and line of the user's own code that raised; a library's for want of one."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in PASSED_OVER
        and not frame.f_code.co_filename.startswith("<")
    ]
    own = [(file, line) for file, line in frames if not _is_library(file)]
    return own[-1] if own else frames[0] if frames else None


def _is_library(file: str) -> bool:
    path = Path(file)
    installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return installed or path.is_relative_to(sysconfig.get_path("stdlib"))
