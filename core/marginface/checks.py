"""Checks of Python arguments: what was found, what was expected, how to mend it."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from typing import TypeGuard

from marginface.errors import MarginfaceError


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """Return a whole number of at least `least`, Python's or NumPy's, as an int.

    >>> check_count("num_classes", 2.5)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: num_classes must be at least 1, a whole number, got 2.5
    """
    if not _whole(value) or int(value) < least:
        raise MarginfaceError(f"{name} must be at least {least}, a whole number, got {value!r}")
    return int(value)


def as_path(name: str, value: object) -> Path:
    """Return a path, with the home folder for a leading `~`.

    >>> as_path("images", 3)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: images must be a path, got 3
    """
    text = fspath(value) if isinstance(value, (str, PathLike)) else b""
    if not isinstance(text, str) or not text:
        raise MarginfaceError(f"{name} must be a path, got {value!r}")
    return at_home(Path(text))


def at_home(path: Path) -> Path:
    """Return a path with the home folder for a leading `~`."""
    return Path.home().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def check_number(name: str, value: object) -> None:
    """Raise unless a value is a number.

    >>> check_number("far", "1e-3")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: far must be a number, got '1e-3'
    """
    if not _number(value):
        raise MarginfaceError(f"{name} must be a number, got {value!r}")


def check_fraction(name: str, value: object) -> float:
    """Return a number from 0 to 1 as a float.

    >>> check_fraction("max_blur", 2)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: max_blur must be between 0 and 1, got 2
    """
    if not _number(value) or not 0 <= value <= 1:
        raise MarginfaceError(f"{name} must be between 0 and 1, got {value!r}")
    return float(value)


def check_rate(name: str, value: object) -> float:
    """Return the share of something that is dropped as a float.

    >>> check_rate("dropout", 1.0)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: dropout must be in [0, 1), got 1.0
    """
    if not _number(value) or not 0 <= value < 1:
        raise MarginfaceError(f"{name} must be in [0, 1), got {value!r}")
    return float(value)


def check_spread(name: str, value: object) -> None:
    """Raise unless a standard deviation is at least 0.

    >>> check_spread("init_std", -1)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: init_std must be at least 0 and finite, got -1
    """
    if not _number(value) or not 0 <= value < math.inf:
        raise MarginfaceError(f"{name} must be at least 0 and finite, got {value!r}")


def check_positive(name: str, value: object) -> None:
    """Raise unless a number is above 0.

    >>> check_positive("epsilon", 0)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: epsilon must be above 0 and finite, got 0
    """
    if not _number(value) or not 0 < value < math.inf:
        raise MarginfaceError(f"{name} must be above 0 and finite, got {value!r}")


def check_labels(smallest: int, largest: int, num_classes: int) -> None:
    """Raise unless labels from `smallest` to `largest` lie in 0 .. num_classes - 1."""
    for label in (smallest, largest):
        if not 0 <= label < num_classes:
            raise MarginfaceError(
                f"label {label} is out of range for {num_classes} classes; expected 0 to "
                f"{num_classes - 1}"
            )


def check_distinct(kind: str, names: Iterable[object]) -> None:
    """Raise if one of some names is given twice.

    >>> check_distinct("loss", ["arcface", "cosface", "arcface"])
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: loss arcface is given twice; give it once
    """
    seen = set()
    for name in names:
        if name in seen:
            raise MarginfaceError(f"{kind} {name} is given twice; give it once")
        seen.add(name)


def check_size(name: str, value: object) -> tuple[int, int]:
    """Return a height and a width in pixels as ints."""
    sides = list(value) if isinstance(value, Iterable) else []
    if len(sides) != 2 or not all(map(_whole, sides)):
        raise MarginfaceError(
            f"{name} must be (height, width), whole numbers of pixels, got {value!r}"
        )
    return int(sides[0]), int(sides[1])


def check_shares(batch_size: int, size: int, accumulation: int = 1) -> None:
    """Raise unless `size` processes can take as many images of a batch each, in as many parts.

    >>> check_shares(8, 3)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: batch_size 8 cannot be shared evenly by 3 processes; choose \
a multiple of the number of processes
    """
    if size < 1 or batch_size % size:
        raise MarginfaceError(
            f"batch_size {batch_size} cannot be shared evenly by {size} processes; "
            "choose a multiple of the number of processes"
        )
    if batch_size % (size * accumulation):
        shares = f" on each of {size} processes" if size > 1 else ""
        raise MarginfaceError(
            f"batch_size {batch_size} cannot be cut into accumulation {accumulation} micro-batches "
            f"of one size{shares}; choose a multiple of {size * accumulation}"
        )


def check_type(name: str, value: object, kind: type, hint: str) -> None:
    """Raise unless a value is of a kind, with a hint at how to make one."""
    if not isinstance(value, kind):
        raise MarginfaceError(
            f"{name} must be a {kind.__name__}, got a {type(value).__name__}; {hint}"
        )


def check_floating(floating: bool) -> None:
    """Raise unless images are of a floating-point type: pixels as they are need scaling first."""
    if not floating:
        raise MarginfaceError(
            "images are whole numbers, expected floating point; scale pixels as the model was "
            "trained, by default (x / 255 - 0.5) / 0.5"
        )


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(value: object) -> TypeGuard[Integral]:
    return isinstance(value, Integral) and not isinstance(value, bool)
