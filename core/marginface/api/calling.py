"""What all public functions share: flags are checked, and errors name arguments as Python does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from marginface.errors import MarginfaceError

# What is on or off: `--resize` is `resize=True`.
FLAGS = {
    *("decay_norm_and_bias", "flip", "frozen_statistics", "init_partial", "join_identities"),
    *("normalize", "overwrite", "preprocess", "rebuild_index", "refuse_damaged", "resize"),
    *("resume", "skip_bad"),
}
# A whole command, which stays, or an option, with a value that looks like one.
OPTION = re.compile(
    r"marginface [a-z][^;,)`]*|(?<![\w-])--(no-)?([a-z][a-z-]*)(?: ([A-Z]+\b|[\w/]+\.\w+))?"
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_typed: ContextVar[bool] = ContextVar("_typed", default=False)


@contextmanager
def on_the_command_line() -> Iterator[None]:
    """Let errors name options as they are typed."""
    before = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(before)


def public(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Check a function's flags, and let its errors name arguments unless a command calls it."""
    defaults = {name: each.default for name, each in signature(function).parameters.items()}
    flags = [name for name, default in defaults.items() if isinstance(default, bool)]

    @wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            for name in flags:
                if name == "resize":
                    from marginface.model import resize_choice  # NumPy, which completion spares

                    resize_choice(named.get(name, False))
                elif not isinstance(value := named.get(name, False), bool):
                    raise MarginfaceError(f"{name} must be True or False, got {value!r}")
            return function(*arguments, **named)
        except MarginfaceError as error:
            if not _typed.get():
                error.args = (in_python(str(error)),)
            raise

    return called


def in_python(message: str) -> str:
    """Name the options of a message as arguments; whole commands stay.

    >>> in_python("scale them (--resize), or give --val lfw.bin")
    "scale them (resize=True), or give val='lfw.bin'"
    >>> in_python("continue: marginface train --output run --resume")
    'continue: marginface train --output run --resume'
    """
    return OPTION.sub(_argument, message)


def _argument(found: re.Match[str]) -> str:
    off, option, value = found.groups()
    if option is None:
        return found[0]
    name = option.replace("-", "_")
    if off or name in FLAGS:
        return f"{name}={not off}" + (f" {value}" if value else "")
    if value is None:
        return name
    return f"{name}={value if value.isupper() else repr(value)}"
