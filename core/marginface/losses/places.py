"""Code by its place, "module:Class"."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from marginface.errors import MarginfaceError
from marginface.own_code import in_one_line


def is_place(text: str) -> bool:
    """Return whether a text has the form "module:Class"."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(p.isidentifier() for p in module.split("."))


def at_place(text: str, what: str) -> Any:
    """Import what is at "module:Class"; `what` begins the message where it is not there."""
    name, _, attribute = text.partition(":")
    module = _module(name, what)
    if not hasattr(module, attribute):
        file = getattr(module, "__file__", "built in")  # None of a folder without __init__.py
        where = file or f"the folder {next(iter(module.__path__))}"
        raise MarginfaceError(f"{what} is not there: {name} ({where}) has no {attribute}")
    return getattr(module, attribute)


def _module(name: str, what: str) -> ModuleType:
    try:
        with in_one_line(f"{what} cannot be imported"):
            return importlib.import_module(name)
    except MarginfaceError as error:
        lacking = getattr(error.__cause__, "name", None)
        if not isinstance(error.__cause__, ModuleNotFoundError) or lacking is None:
            raise
        if not f"{name}.".startswith(f"{lacking}."):
            raise
        raise MarginfaceError(
            f"{what} cannot be imported: there is no module {lacking} here or among what is "
            "installed"
        ) from None
