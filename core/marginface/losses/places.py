"""Code by its place, "module:Class"."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from marginface.errors import MarginfaceError


def is_place(text: str) -> bool:
    """Return whether a text has the form "module:Class"."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(p.isidentifier() for p in module.split("."))


def at_place(text: str, what: str) -> Any:
    """Import what is at "module:Class"; `what` begins the message where it is not there."""
    name, _, attribute = text.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise MarginfaceError(
            f"{what} cannot be imported: there is no module {error.name} here or among what is "
            "installed"
        ) from None
    if not hasattr(module, attribute):
        where = inspect.getsourcefile(module) if hasattr(module, "__file__") else "built in"
        raise MarginfaceError(f"{what} is not there: {name} ({where}) has no {attribute}")
    return getattr(module, attribute)
