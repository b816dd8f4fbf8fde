"""A loss's parameters: default, range, choices and meaning stated once, where they are declared.

Checks, the documentation, the command line's help and the bounds of tests come from here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from marginface.errors import MarginfaceError

T = TypeVar("T")
HELP, LIMITS = "help", "limits"  # keys of a field's metadata
# What a value may be, by its default's type; a number where it is none of these.
KINDS: dict[type, tuple[type, str]] = {str: (str, "a name"), bool: (bool, "True or False")}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The range of a number; `low` and `high` belong to it, `above` and `below` do not.

    >>> print(Limits(low=0, below=math.pi, unit="radians"), "|", Limits(above=0))
    in [0, pi) radians | greater than 0
    """

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    unit: str = ""
    why: str = ""

    def hold(self, value: float) -> bool:
        """Whether a number lies in the range; NaN and infinities do not."""
        return (
            math.isfinite(value)
            and (self.low is None or self.low <= value)
            and (self.above is None or self.above < value)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The lower and the upper limit, whether they belong to the range or not."""
        lowest = self.low if self.above is None else self.above
        return lowest, self.high if self.below is None else self.below

    def __str__(self) -> str:
        lowest, highest = self.ends
        if lowest is not None and highest is not None:
            opening, closing = (
                "[" if self.above is None else "(",
                "]" if self.below is None else ")",
            )
            text = f"in {opening}{_number(lowest)}, {_number(highest)}{closing}"
        elif lowest is not None:
            text = f"{'at least' if self.above is None else 'greater than'} {_number(lowest)}"
        elif highest is not None:
            text = f"{'at most' if self.below is None else 'less than'} {_number(highest)}"
        else:
            text = "finite"
        return (
            text + (f" {self.unit}" if self.unit else "") + (f" ({self.why})" if self.why else "")
        )


def in_radians(value: Any, allowed: str | None) -> str:
    """Return a hint for an angle that is refused as radians and may be in degrees; else "".

    >>> in_radians(28.6, "in [0, pi) radians")
    '; 28.6 degrees are 0.4992 radians'
    """
    angle = allowed is not None and "radians" in allowed
    if not angle or not isinstance(value, int | float) or not math.pi < value < 180:
        return ""
    return f"; {value:g} degrees are {math.radians(value):.4g} radians"


@dataclass(frozen=True)
class Parameter:
    """A parameter as a loss declares it.

    Args:
        name: of the field.
        default: its value where none is given.
        choices: all values it may take; empty for a number.
        limits: of a number.
        meaning: its meaning in a few words.
    """

    name: str
    default: Any
    choices: tuple[Any, ...]
    limits: Limits
    meaning: str

    @property
    def allowed(self) -> str:
        """The allowed values, in words.

        >>> from marginface.losses import arcface
        >>> {name: each.allowed for name, each in declared(arcface.ArcFace).items()}["margin"]
        'in [0, pi) radians'
        """
        if isinstance(self.default, bool):
            return KINDS[bool][1]
        if self.choices:
            return f"one of {self.choices}"
        return f"a whole number of {self.limits}" if self._whole else str(self.limits)

    @property
    def _whole(self) -> bool:
        return isinstance(self.default, int)

    def problem(self, value: Any) -> str | None:
        """Describe what a value ought to be; None for a valid one."""
        types, kind = KINDS.get(type(self.default), (Real, "a number"))
        fits = isinstance(value, types) and (types is bool or not isinstance(value, bool))
        if not fits:
            return kind
        if self.choices:
            return None if value in self.choices else self.allowed
        fits = self.limits.hold(value) and (not self._whole or float(value).is_integer())
        return None if fits else self.allowed


def parameter(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    unit: str = "",
    why: str = "",
) -> Any:
    """Declare a parameter: a field of a loss's dataclass.

    A number's annotation is float or int, a choice's a Literal, yes and no's bool.

    Args:
        default: the value where none is given.
        help: its meaning in a few words, without default and range.
        low: the smallest value.
        above: a bound that values exceed.
        high: the largest value.
        below: a bound that values stay under.
        unit: of the number, such as "radians".
        why: the reason for the range, where it is not obvious.

    Raises:
        MarginfaceError: a range without room.
    """
    limits = Limits(low=low, above=above, high=high, below=below, unit=unit, why=why)
    lowest, highest = limits.ends
    if lowest is not None and highest is not None and lowest >= highest:
        raise MarginfaceError(
            f"a parameter ({help}) that must be {limits} can have no value; its lower limit must "
            "be less than its upper"
        )
    return field(default=default, metadata={HELP: help, LIMITS: limits})


def declared(loss: type) -> Mapping[str, Parameter]:
    """Return the parameters of a loss's class by name.

    Raises:
        MarginfaceError: an annotation that names nothing at run time.
    """
    try:
        hints = get_type_hints(loss)
    except NameError as error:
        raise MarginfaceError(
            f"{loss.__name__}: the type of a parameter is not there at run time ({error}); import "
            "it outside of TYPE_CHECKING"
        ) from None
    return {
        each.name: Parameter(
            each.name,
            each.default,
            _choices(hints[each.name]),
            each.metadata.get(LIMITS, Limits()),
            each.metadata.get(HELP, ""),
        )
        for each in fields(loss)
        if each.default is not MISSING
    }


def document_parameters(loss: type[T]) -> type[T]:
    """Add a loss's parameters to its docstring, so that `help` tells of them."""
    text = inspect.cleandoc(loss.__doc__ or "")
    if text.startswith(f"{loss.__name__}("):  # what a dataclass says of itself where nobody does
        text = f"{loss.__name__}: a loss of one's own."
    lines = [f"    {p.name}: {p.meaning}; {p.allowed}." for p in declared(loss).values()]
    loss.__doc__ = "\n".join([text, "", "Args:", *lines])
    return loss


def _choices(kind: Any) -> tuple[Any, ...]:
    if kind is bool:
        return (False, True)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _number(value: float) -> str:
    return "pi" if value == math.pi else f"{value:g}"
