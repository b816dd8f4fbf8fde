"""What all public functions share: their arguments are checked, and errors name them in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import Parameter, isgeneratorfunction, signature
from typing import Any, ParamSpec, TypeVar, cast

from marginface.checks import check_count, check_number
from marginface.errors import MarginfaceError

# What is on or off: `--resize` is `resize=True`.
FLAGS = {
    *("decay_norm_and_bias", "deterministic", "flip", "frozen_statistics", "init_partial"),
    "join_identities",
    *("normalize", "overwrite", "preprocess", "rebuild_index", "recompute", "refuse_damaged"),
    *("resize", "resume", "skip_bad", "turns"),
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
    """Check arguments as their annotations say, and let errors name them as `worded` does.

    Numbers, flags and objects of one class are checked; the function checks the rest, such as paths
    and ranges.
    """
    described = signature(function)

    def check(*arguments: Any, **named: Any) -> None:
        try:
            given = described.bind(*arguments, **named).arguments
        except TypeError:
            return  # which the call itself raises
        for name, value in given.items():
            parameter = described.parameters[name]
            if parameter.kind is not Parameter.VAR_KEYWORD:
                several = parameter.kind is Parameter.VAR_POSITIONAL
                for each in value if several else [value]:
                    _check(name, each, str(parameter.annotation), function.__globals__)

    @wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with _worded_errors():
            check(*arguments, **named)
            result = function(*arguments, **named)
        if isgeneratorfunction(function):
            return cast("Result", _worded_generator(cast("Generator[Any, None, None]", result)))
        return result

    return called


def worded(message: str) -> str:
    """Name the options of a message as arguments, unless a command says it."""
    return message if _typed.get() else in_python(message)


def in_python(message: str) -> str:
    """Name the options of a message as arguments; whole commands stay.

    >>> in_python("scale them (--resize), or give --val lfw.bin")
    "scale them (resize=True), or give val='lfw.bin'"
    >>> in_python("continue: marginface train --output run --resume")
    'continue: marginface train --output run --resume'
    """
    return OPTION.sub(_argument, message)


@contextmanager
def _worded_errors() -> Iterator[None]:
    try:
        yield
    except MarginfaceError as error:
        error.args = (worded(str(error)),)
        raise


def _worded_generator(results: Generator[Result, None, None]) -> Generator[Result, None, None]:
    with _worded_errors():
        yield from results


def _argument(found: re.Match[str]) -> str:
    off, option, value = found.groups()
    if option is None:
        return found[0]
    name = option.replace("-", "_")
    if off or name in FLAGS:
        return f"{name}={not off}" + (f" {value}" if value else "")
    if value is None:
        return name
    as_it_is = value.isupper() or value.replace(".", "").isdecimal()
    return f"{name}={value if as_it_is else repr(value)}"


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise MarginfaceError(f"{name} must be True or False, got {value!r}")


def _check_choice(name: str, value: object) -> None:
    if value is not None and not isinstance(value, bool):
        raise MarginfaceError(f"{name} must be True, False or None, got {value!r}")


def _check_word(name: str, value: object) -> None:
    if hasattr(value, "__array__"):  # which equals no word, nor does it not
        raise MarginfaceError(f"{name} must be a text, got {type(value).__name__}")


def _check_resize(name: str, value: Any) -> None:
    from marginface.model import resize_choice  # NumPy, which completion spares

    _check_word(name, value)
    resize_choice(value)


# By annotations as they are written.
CHECKS: dict[str, Callable[[str, object], object]] = {
    "bool": _check_flag,
    "bool | None": _check_choice,
    "int": check_count,
    "float": check_number,
    "str": _check_word,
    "Resize": _check_resize,
}


def _check(name: str, value: object, annotation: str, classes: dict[str, Any]) -> None:
    """Raise unless a value is what an annotation says, if it is one of `CHECKS` or a class."""
    kind = annotation.removesuffix(" | None")
    if annotation != kind and value is None:
        return
    if check := CHECKS.get(annotation) or CHECKS.get(kind):
        check(name, value)
        return
    known = classes.get(kind)
    if known is not Any and isinstance(known, type) and not isinstance(value, known):
        raise MarginfaceError(f"{name} must be {kind}, got {type(value).__name__}")
