"""Configuration values as people type them, and pydantic's complaints as one line."""

from __future__ import annotations

from datetime import date
from typing import Any

import yaml
from pydantic import BeforeValidator, ValidationError

from marginface.checks import check_distinct
from marginface.errors import MarginfaceError, unknown_name
from marginface.model import RESIZINGS, for_each_channel, resize_choice


def one_of(kind: str, *choices: str) -> BeforeValidator:
    """Build a validator that refuses values other than `choices`; it names the nearest one.

    YAML reads a bare `on` or `off` as true or false; it is turned back into what was typed.
    """

    def check(value: Any) -> Any:
        typed = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
        if not isinstance(typed, str):
            expected = f"must be one of {', '.join(choices)}"
            raise MarginfaceError(f"{kind} {expected}, got {as_typed(value)}")
        if typed not in choices:
            raise unknown_name(kind, typed, choices)
        return typed

    return BeforeValidator(check)


def channels_of(name: str) -> BeforeValidator:
    """Build a validator that takes one number or three, or such as text."""

    def check(value: Any) -> Any:
        if value is None or isinstance(value, date):
            raise MarginfaceError(f"{name} must be one number or three, got {as_typed(value)}")
        return for_each_channel(name, value)

    return BeforeValidator(check)


def not_empty(value: Any) -> Any:
    """Refuse an empty path, as an unset shell variable gives it: it would be the current folder."""
    if value == "":
        raise MarginfaceError("expected a folder, got an empty name")
    return value


def one_or_several(value: Any) -> Any:
    """Wrap a single value in a list.

    >>> one_or_several("a,b"), one_or_several(["a", "b"])
    (['a,b'], ['a', 'b'])
    """
    return value if isinstance(value, list | tuple) else [value]


def split_commas(value: Any) -> Any:
    """Split "a,b" into ["a", "b"]; a value that is no text passes unchanged.

    >>> split_commas("flip, zoom"), split_commas(""), split_commas([1])
    (['flip', 'zoom'], [], [1])
    """
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def split_steps(value: Any) -> Any:
    """Split "a,b" as `split_commas` does; one number is a list of it."""
    return [value] if isinstance(value, int) else split_commas(value)


def split_names(value: Any) -> Any:
    """Split "a,b" as `split_commas` does, and refuse a name that is typed twice."""
    names = split_commas(value)
    if isinstance(value, str):  # a recorded list may repeat what two presets share
        check_distinct("name", names)
    return names


def split_all_commas(value: Any) -> Any:
    """Split text, or each text of several, at commas.

    >>> split_all_commas(["a, b", "c"]), split_all_commas("a,b")
    (['a', 'b', 'c'], ['a', 'b'])
    """
    if not isinstance(value, list | tuple):
        return split_commas(value)
    parts = [split_commas(each) for each in value]
    return [one for part in parts for one in (part if isinstance(part, list) else [part])]


def height_and_width(value: Any) -> Any:
    """Read "112,96", "112x96" or 112 as height and width.

    >>> height_and_width("112x96"), height_and_width(112)
    (['112', '96'], [112, 112])
    """
    values = split_commas(value.replace("x", ",")) if isinstance(value, str) else value
    listed = [values] if isinstance(values, int) else values
    if not isinstance(listed, list | tuple) or len(listed) not in (1, 2):
        raise MarginfaceError(
            f"input_size must be height,width or one number, got {as_typed(value)}"
        )
    return list(listed) * (2 // len(listed))


def how_to_resize(value: Any) -> Any:
    """Return how images of another size are scaled; earlier versions squeezed where it is true.

    >>> how_to_resize(True), how_to_resize("no"), how_to_resize("fit")
    ('squeeze', False, 'fit')
    """
    if not isinstance(value, bool | str):
        raise MarginfaceError(
            f"resize must be one of {', '.join(RESIZINGS)}, or true or false, got {as_typed(value)}"
        )
    return "squeeze" if (how := resize_choice(value)) is True else how


def name_value_pairs(value: Any, key: str = "loss_parameters") -> Any:
    """Read "m3=0.2,easy=true" as a mapping, its values as YAML does; `key` is for the message.

    >>> name_value_pairs("m3=0.2,easy=true")
    {'m3': 0.2, 'easy': True}
    """
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in split_commas(value):
        name, equals, text = part.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise MarginfaceError(f"{key} must be name=value,name=value, got '{value}'")
        if name.strip() in pairs:
            raise MarginfaceError(f"'{name.strip()}' is given twice in '{value}'")
        pairs[name.strip()] = yaml.safe_load(text)
    return pairs


def factors_by_part(value: Any) -> Any:
    """Read "backbone=0.1,head=1" as a mapping from parts to numbers.

    >>> factors_by_part("backbone=0.1,head=1")
    {'backbone': 0.1, 'head': 1}
    """
    factors = name_value_pairs(value, "lr_factor")
    if factors is None:
        return {}
    if not isinstance(factors, dict) or not all(isinstance(name, str) for name in factors):
        raise MarginfaceError(
            "lr_factor must be parts with factors, such as {backbone: 0.1, head: 1}, got "
            f"{as_typed(value)}"
        )
    for name, factor in factors.items():
        refuse_truth(f"lr_factor of {name}", factor)
    return factors


def refuse_truth(name: str, value: Any) -> None:
    """Raise if a number is given as true or false, which Python takes for 1 or 0."""
    if isinstance(value, bool):
        raise MarginfaceError(f"{name} must be a number, got {as_typed(value)}")


# What a value of another type should have been, by the type of pydantic's complaint.
EXPECTED = {
    **dict.fromkeys(["string_type", "string_unicode"], "a text"),
    **dict.fromkeys(["int_type", "int_parsing", "int_from_float"], "a whole number"),
    "int_parsing_size": "a whole number of fewer digits",
    **dict.fromkeys(["float_type", "float_parsing"], "a number"),
    **dict.fromkeys(["bool_type", "bool_parsing"], "true or false"),
    **dict.fromkeys(["tuple_type", "list_type"], "a list"),
    "dict_type": "a list of names with values, such as {m3: 0.2}",
    "path_type": "a path",
}
TEXTS = ("a text", "a path")


def as_typed(value: Any) -> str:
    """Return a value of a file as it is written there, for a message.

    >>> as_typed(None), as_typed(True), as_typed([1, {"a": None}]), as_typed("x")
    ('nothing', 'yes', '[1, {a: null}]', "'x'")
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float | bytes):
        return repr(value)
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    except yaml.YAMLError:  # from Python
        return repr(value)
    return " ".join(text.removesuffix("...\n").split())


def one_line(error: ValidationError, key: str = "") -> str:
    """Format every error as one line that names key, value and allowed range.

    Args:
        error: from validating a whole configuration, or one value.
        key: the key, where a single value was validated.
    """
    complaints = []
    for detail in error.errors(include_url=False):
        path = [*([key] if key else []), *map(str, detail["loc"])]
        # The location of a tuple's element ends with its index; the user typed the key alone.
        name = path[0] if path else "configuration"
        if detail["type"] == "missing":
            option = name.replace("_", "-")
            complaints.append(f"{name} is missing; give --{option} or '{name}:' in the config file")
        elif isinstance(cause := detail.get("ctx", {}).get("error"), MarginfaceError):
            named = not path or name in str(cause)
            complaints.append(str(cause) if named else f"{name}: {cause}")
        elif detail["type"] == "too_short":
            complaints.append(f"{name} is an empty list; give at least one")
        else:
            value = detail["input"]
            wish = detail["msg"].replace("Input should be", "must be", 1)
            if expected := EXPECTED.get(detail["type"]):
                wish = f"must be {expected}"
            # Text such as on, 5 or 2024-01-02, which YAML reads as something else.
            plain = isinstance(value, bool | int | float | date)
            hint = "; put it in quotes" if expected in TEXTS and plain else ""
            complaints.append(f"{name} {wish}, got {as_typed(value)}{hint}")
    return "; ".join(dict.fromkeys(complaints))
