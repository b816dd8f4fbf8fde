"""Which tensor code a loss has: the families' in each backend, and what came with a user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from itertools import product
from typing import Any

from marginface.errors import MarginfaceError
from marginface.losses.base import MarginLoss
from marginface.losses.families import FAMILIES
from marginface.losses.places import at_place
from marginface.losses.registry import BUILT_IN, Loss, find, of_family

Code = type | str  # a class with a loss's tensor code, or where it is: "module:Class"
CODE: dict[Loss, dict[str, Code]] = {}  # of a user's own losses, by backend

# What a loss may define, and what its tensor code calls the same.
OPS_METHODS = {
    "prepare": "prepare",
    "target": "target",
    "negative": "negatives",
    "reduce": "reduce",
    "penalty": "penalty",
}


def runs_in(name: str, backend: str) -> bool:
    """Return whether a loss has tensor code for a backend, without importing it."""
    loss = find(name)
    return loss in BUILT_IN.values() or backend in CODE[loss]


def check_runs_in(name: str, backend: str) -> None:
    """Raise unless a loss has tensor code for a backend."""
    if not runs_in(name, backend):
        raise _without_code(find(name), backend)


def left_out(losses: Iterable[str], backends: Iterable[str]) -> list[str]:
    """Say which losses lack tensor code for which backends, a line each."""
    return [
        f"{loss} has no code for backend {backend}; it is left out there"
        for loss, backend in product(losses, backends)
        if not runs_in(loss, backend)
    ]


def code_of_families(package: str) -> dict[Loss, Any]:
    """Collect the tensor code of all families from a backend's package.

    The code of a loss `ArcFace` is `ArcFaceOps` in its family's module; a loss that has none is
    computed by that of the class it derives from.
    """
    codes = {}
    for word in FAMILIES:
        module = importlib.import_module(f"{package}.{word}")
        for loss in of_family(word):
            named = (getattr(module, f"{base.__name__}Ops", None) for base in loss.__mro__)
            code = next((each for each in named if each is not None), None)
            if code is None:
                raise MarginfaceError(f"{module.__name__} has no {loss.__name__}Ops")
            codes[loss] = code
    return codes


def own_code(loss: Loss, backend: str) -> Any:
    """Return the tensor code of a loss of one's own, importing it.

    Raises:
        MarginfaceError: the loss is not registered, or without this backend; its code is not where
            it should be, or lacks a method.
    """
    if backend not in CODE.get(loss, {}):
        raise _without_code(loss, backend)
    code = CODE[loss][backend]
    if isinstance(code, str):
        code = at_place(code, f"the code of {loss.__name__} for {backend}, {code},")
        check_code(loss, backend, code)
    return code


def check_code(loss: Loss, backend: str, code: Any) -> None:
    """Raise unless a class is tensor code with all methods that its loss has of its own."""
    name = getattr(code, "__name__", code)
    # Where the backend is not imported nothing derives from it.
    base = getattr(sys.modules.get(f"marginface_{backend}.losses.base"), "LossOps", None)
    if base is None or not (isinstance(code, type) and issubclass(code, base)):
        raise MarginfaceError(
            f"{loss.__name__}: {backend}={name} is no tensor code; expected a class derived from "
            f"marginface_{backend}.losses.LossOps"
        )
    for method, same in OPS_METHODS.items():
        own = getattr(loss, method) is not getattr(MarginLoss, method)
        if own and getattr(code, same) is getattr(base, same):
            raise MarginfaceError(
                f"{loss.__name__}: {backend}={name} has no {same}; the loss has a {method} of its "
                "own, so its tensor code needs the same in tensors"
            )


def _without_code(loss: Loss, backend: str) -> MarginfaceError:
    given = CODE.get(loss)
    if not given:
        return MarginfaceError(
            f"the loss {loss.__name__} is not registered; call "
            f"marginface.losses.register({loss.__name__}, {backend}=...) with its tensor code"
        )
    return MarginfaceError(
        f"loss '{loss.name}' has no code for backend {backend}, only for {', '.join(given)}; "
        f"choose that, or register it with {backend}= as well"
    )
