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
def in_one_line(what: str, *passed: type[MarginfaceError]) -> Iterator[None]:
    """Run code that may raise anything; what it raises names its place and follows `what`.

    Errors that are `passed` are left as they are.

    >>> with in_one_line("the loss my_losses:Mine cannot be imported"):
    ...     raise KeyError("margin")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: the loss my_losses:Mine cannot be imported: \
KeyError: 'margin'
    """
    left: tuple[type[MarginfaceError], ...] = (MissingPackageError, *passed)
    try:
        yield
    except left:
        raise
    except (Exception, SystemExit) as error:
        raise MarginfaceError(f"{what}: {said(error)}") from error


@contextmanager
def telling_own_errors(what: str) -> Iterator[None]:
    """Run code of ours that calls a user's own; what theirs raises is told as by `in_one_line`.

    Keras and AutoGraph raise another exception in the place of the first, with a page about it.
    What our own code raises is left as it is.
    """
    try:
        yield
    except Exception as error:  # a user's code raises anything
        chain = list(_chain(error))
        known = [each for each in chain if isinstance(each, MarginfaceError)]
        if known:
            raise known[-1] from None
        if not _own_places(chain[-1]):
            raise
        raise MarginfaceError(f"{what}: {said(chain[-1])}") from chain[-1]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, the one that it was raised in the place of, and so on."""
    while error is not None:
        yield error
        error = error.__context__


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
    own, frames = _own_places(error), _places(error)
    return own[-1] if own else frames[0] if frames else None


def _own_places(error: BaseException) -> list[tuple[str, int]]:
    """List the files and lines of the user's own code that an exception passed."""
    return [(file, line) for file, line in _places(error) if not _is_library(file)]


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in PASSED_OVER
        and not frame.f_code.co_filename.startswith("<")
    ]


def _is_library(file: str) -> bool:
    path = Path(file)
    installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return installed or path.is_relative_to(sysconfig.get_path("stdlib"))
