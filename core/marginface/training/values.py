"""Configuration values as people type them, and pydantic's complaints as one line."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from marginface.errors import MarginfaceError


def split_commas(value: Any) -> Any:
    """Split "a,b" into ["a", "b"]; everything that is no text passes unchanged.

    >>> split_commas("flip, zoom"), split_commas(""), split_commas([1])
    (['flip', 'zoom'], [], [1])
    """
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def one_for_each_channel(value: Any) -> Any:
    """Repeat a single number for the three channels; "a,b,c" is split.

    >>> one_for_each_channel("127.5"), one_for_each_channel(128)
    (['127.5', '127.5', '127.5'], [128, 128, 128])
    """
    values = split_commas(value)
    if isinstance(values, int | float):
        return [values] * 3
    return values * 3 if isinstance(values, list) and len(values) == 1 else values


def height_and_width(value: Any) -> Any:
    """Read "112,96", "112x96" or 112 as height and width.

    >>> height_and_width("112x96"), height_and_width(112)
    (['112', '96'], [112, 112])
    """
    values = split_commas(value.replace("x", ",")) if isinstance(value, str) else value
    if isinstance(values, int):
        return [values, values]
    return values * 2 if isinstance(values, list) and len(values) == 1 else values


def name_value_pairs(value: Any) -> Any:
    """Read "margin3=0.2,easy=true" as a mapping, its values as YAML does.

    >>> name_value_pairs("margin3=0.2,easy=true")
    {'margin3': 0.2, 'easy': True}
    """
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in split_commas(value):
        name, equals, text = part.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise MarginfaceError(f"expected name=value,name=value, got '{value}'")
        if name.strip() in pairs:
            raise MarginfaceError(f"'{name.strip()}' is given twice in '{value}'")
        pairs[name.strip()] = yaml.safe_load(text)
    return pairs


def one_line(error: ValidationError, key: str = "") -> str:
    """Return every complaint of `error` in one line that names key, value and what is allowed.

    Args:
        error: from validating a whole configuration, or one value.
        key: the key, where a single value was validated.
    """
    complaints = []
    for detail in error.errors(include_url=False):
        path = [*([key] if key else []), *map(str, detail["loc"])]
        # A tuple's element is located by its index; the key is what the user typed.
        name = path[0] if path else "configuration"
        if detail["type"] == "missing":
            option = name.replace("_", "-")
            complaints.append(f"{name} is missing; give --{option} or '{name}:' in the config file")
        elif isinstance(cause := detail.get("ctx", {}).get("error"), MarginfaceError):
            complaints.append(str(cause) if not path else f"{name}: {cause}")
        else:
            wish = detail["msg"].replace("Input should be", "must be", 1)
            complaints.append(f"{name} {wish}, got {detail['input']!r}")
    return "; ".join(complaints)
