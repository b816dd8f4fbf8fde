"""Which losses there are: the families here, and a user's own.

A loss of one's own is code. It is imported where a command line names it (`load`) or where an
installed package offers it (an entry point), never because a file names it.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from marginface.errors import MarginfaceError, unknown_name
from marginface.losses.base import MarginLoss
from marginface.losses.families import FAMILIES
from marginface.losses.hyperparameters import declared, document_parameters
from marginface.losses.places import at_place, is_place
from marginface.own_code import said

GROUP = "marginface.losses"
MEND = "mend or remove the package"

Loss = type[MarginLoss]


def of_family(word: str) -> list[Loss]:
    """Return the losses of a family, in the order of its file."""
    module = importlib.import_module(f"marginface.losses.{word}")
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, MarginLoss)
        and value.__module__ == module.__name__
    ]


BUILT_IN: dict[str, Loss] = {
    loss.name: document_parameters(loss) for word in FAMILIES for loss in of_family(word)
}
OWN: dict[str, Loss] = {}  # by name


def names() -> list[str]:
    """List the names that `get` accepts."""
    return list(dict.fromkeys([*BUILT_IN, *OWN, *_offered()]))


def usable() -> list[str]:
    """List the names of all losses that can be imported; a warning tells of those that cannot."""
    importable = []
    for name in names():
        try:
            find(name)
        except MarginfaceError as error:
            warnings.warn(f"passed over: {error}", RuntimeWarning, stacklevel=2)
        else:
            importable.append(name)
    return importable


def parameters(name: str) -> dict[str, Any]:
    """Return a loss's parameters with their defaults.

    >>> parameters("cosface")
    {'scale': 64.0, 'margin': 0.4}
    """
    return {key: each.default for key, each in declared(find(name)).items()}


def choices(name: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of a loss's parameters that are a choice among names, or yes and no.

    >>> choices("li_arcface")
    {'gradient': ('exact', 'straight_through')}
    """
    return {key: each.choices for key, each in declared(find(name)).items() if each.choices}


def get(name: str, /, **values: Any) -> MarginLoss:
    """Return a loss by name.

    Raises:
        MarginfaceError: an unknown name, a parameter that the loss does not have, a value out of
            its range.

    >>> get("cosface", scale=64, margin=0.5)
    CosFace(scale=64, margin=0.5)
    """
    loss = find(name)
    known = declared(loss)
    for parameter in values:
        if parameter not in known:
            listed_by = f"marginface losses {name}"
            raise unknown_name(f"{name} parameter", parameter, known, listed_by=listed_by)
    return loss(**values)


def as_loss(loss: MarginLoss | str, parameters: Mapping[str, Any] | None = None) -> MarginLoss:
    """Return a loss that an argument gives by name, with its parameters, or as it is.

    Raises:
        MarginfaceError: as `get`, or parameters beside a loss that has its own.
    """
    if isinstance(loss, str):
        return get(loss, **(parameters or {}))
    if not isinstance(loss, MarginLoss):
        raise MarginfaceError(
            f"loss must be a name or what marginface.losses.get returns, got {loss!r}"
        )
    if parameters:
        raise MarginfaceError(
            f"{', '.join(parameters)} beside the loss {loss!r}, which has its parameters; give "
            f"its name, '{loss.name}', or all of them to marginface.losses.get"
        )
    return loss


def find(name: str) -> Loss:
    """Return the class of a loss that is known by this name, or was loaded from this place."""
    if not isinstance(name, str):
        raise MarginfaceError(f"a loss is found by its name, got {name!r}")
    known = BUILT_IN | OWN
    if name in known:
        return known[name]
    if name in _offered():
        return _from_package(_offered()[name])
    if not is_place(name):
        if ":" in name or "." in name:
            raise MarginfaceError(
                f"unknown loss '{name}'; a loss of one's own is module:Class, as my_losses:MyLoss"
            )
        raise unknown_name("loss", name, names(), listed_by="marginface losses")
    loss = _imported(name)
    if loss is None:
        module = name.partition(":")[0]
        raise MarginfaceError(
            f"the loss {name} is code that is not imported; code is imported only where the "
            f"command names it: give --loss {name} as well, or in Python import {module} first"
        )
    return loss


def is_own(loss: MarginLoss) -> bool:
    """Return whether a loss is a user's own, whose code may raise anything."""
    return type(loss) not in BUILT_IN.values()


def load(text: str) -> Loss:
    """Return the class of a loss that a command line names, importing it from "module:Class".

    Modules in the current folder are found, too, after those that are installed. Call it with what
    a user typed, never with what a file says.
    """
    if not isinstance(text, str) or not is_place(text):
        return find(text)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    at_place(text, f"the loss {text}")
    loss = _imported(text)
    if loss is None:
        raise MarginfaceError(
            f"{text} is no registered loss; its module should end with "
            f"marginface.losses.register({text.partition(':')[2]}, torch=..., tf=...)"
        )
    return loss


def place(name: str) -> str:
    """Return the text that `load` in another process takes: a name, or a user's "module:Class"."""
    loss = find(name)
    return name if loss in BUILT_IN.values() else f"{loss.__module__}:{loss.__qualname__}"


def awaits_import(name: str) -> bool:
    """Return whether a name is of code, "module:Class", that nobody has imported so far."""
    return is_place(name) and _imported(name) is None


def _imported(text: str) -> Loss | None:
    """Return the registered loss at "module:Class", if that is imported; it imports nothing."""
    module, _, name = text.partition(":")
    loss = vars(sys.modules[module]).get(name) if module in sys.modules else None
    return loss if isinstance(loss, type) and loss in OWN.values() else None


@cache
def _offered() -> dict[str, EntryPoint]:
    """The losses that installed packages offer, by name; a warning tells of a name taken twice."""
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in BUILT_IN or entry.name in offered:
            first = _offer(offered[entry.name]) if entry.name in offered else "marginface's own"
            warnings.warn(
                f"passed over: {_offer(entry)}, as {first} has that name",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            offered[entry.name] = entry
    return offered


def _offer(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name}" if entry.dist else "an installed package"
    return f"the loss '{entry.name}' of {package} (entry point {entry.value})"


def _from_package(entry: EntryPoint) -> Loss:
    what, place = _offer(entry), entry.value.partition("[")[0].strip()  # without extras
    if not is_place(place):
        raise MarginfaceError(f"{what}: an entry point is module:Class; {MEND}")
    try:
        loss: Loss = at_place(place, "it")
    except Exception as error:  # a package's code raises anything when it is imported
        raise MarginfaceError(f"{what}: {said(error)}; {MEND}") from error
    if OWN.get(entry.name) is not loss:
        raise MarginfaceError(f"{what}: no loss of that name is registered there; {MEND}")
    return loss
