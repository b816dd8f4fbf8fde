"""Which losses there are: the families here, and a user's own.

A loss of one's own is code. It is imported where a command line names it (`load`) or where an
installed package offers it (an entry point), never because a file names it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

from marginface.errors import MarginfaceError, unknown_name
from marginface.losses.base import Logit, MarginLoss
from marginface.losses.families import FAMILIES
from marginface.losses.hyperparameters import HELP, Parameter, declared
from marginface.own_code import in_one_line, said

GROUP = "marginface.losses"
MEND = "mend or remove the package"
# What a loss may define, and what its tensor code calls the same.
OPS_METHODS = {
    "prepare": "prepare",
    "target": "target",
    "negative": "negatives",
    "reduce": "reduce",
    "penalty": "penalty",
}
NAME = re.compile(r"[a-z][a-z0-9_]*")

Loss = type[MarginLoss]
Code = type | str  # a class with a loss's tensor code, or where it is: "module:Class"


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


def _documented(loss: Loss) -> Loss:
    """Let `help` say what the parameters are, too."""
    text = inspect.cleandoc(loss.__doc__ or "")
    if text.startswith(f"{loss.__name__}("):  # what a dataclass says of itself where nobody does
        text = f"{loss.__name__}: a loss of one's own."
    lines = [f"    {p.name}: {p.meaning}; {p.allowed}." for p in declared(loss).values()]
    loss.__doc__ = "\n".join([text, "", "Args:", *lines])
    return loss


BUILT_IN: dict[str, Loss] = {
    loss.name: _documented(loss) for word in FAMILIES for loss in of_family(word)
}
_OWN: dict[str, Loss] = {}  # by name
_CODE: dict[Loss, dict[str, Code]] = {}  # a user's own, by backend


def register(loss: Loss, *, torch: Code | None = None, tf: Code | None = None) -> None:
    """Add a loss of one's own to those that every command and `MarginHead` know by name.

    Args:
        loss: a frozen dataclass derived from `MarginLoss`, with a name, parameters declared by
            `parameter`, and a `target`.
        torch: its tensor code, derived from `marginface_torch.losses.LossOps`, or where that is,
            "module:Class", so that registering loads no framework.
        tf: the same for TensorFlow, `marginface_tf.losses.LossOps`.

    Raises:
        MarginfaceError: what is missing or wrong, or a name that another loss has.
    """
    _check_loss(loss)
    given = {name: code for name, code in (("torch", torch), ("tf", tf)) if code is not None}
    if not given:
        raise MarginfaceError(
            f"{loss.__name__} is registered without tensor code; give torch= or tf=, or both"
        )
    for backend, code in given.items():
        if not isinstance(code, str):
            _check_code(loss, backend, code)
        elif not _is_place(code):
            raise MarginfaceError(
                f"{loss.__name__}: {backend}={code!r} is no place; expected 'module:Class'"
            )
    if loss not in _CODE:
        _documented(loss)
    _OWN[loss.name] = loss
    _CODE.setdefault(loss, {}).update(given)


def names() -> list[str]:
    """List the names that `get` accepts."""
    return list(dict.fromkeys([*BUILT_IN, *_OWN, *_offered()]))


def usable() -> list[str]:
    """List the names of all losses that can be imported; a warning tells of those that cannot."""
    found = []
    for name in names():
        try:
            find(name)
        except MarginfaceError as error:
            warnings.warn(f"passed over: {error}", RuntimeWarning, stacklevel=2)
        else:
            found.append(name)
    return found


def parameters(name: str) -> dict[str, Any]:
    """Return a loss's parameters with their defaults.

    >>> parameters("cosface")
    {'scale': 64.0, 'margin': 0.4}
    """
    return {key: each.default for key, each in declared_by(name).items()}


def choices(name: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of a loss's parameters that are a choice among names, or yes and no.

    >>> choices("li_arcface")
    {'gradient': ('exact', 'straight_through')}
    """
    return {key: each.choices for key, each in declared_by(name).items() if each.choices}


def declared_by(name: str) -> Mapping[str, Parameter]:
    """Return a loss's parameters with all that it declares of them."""
    return declared(find(name))


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
            raise unknown_name(f"{name} parameter", parameter, known)
    return loss(**values)


def as_loss(loss: MarginLoss | str) -> MarginLoss:
    """Return a loss that an argument gives by name, or as it is."""
    if isinstance(loss, str):
        return get(loss)
    if not isinstance(loss, MarginLoss):
        raise MarginfaceError(
            f"loss must be a name or what marginface.losses.get returns, got {loss!r}"
        )
    return loss


def find(name: str) -> Loss:
    """Return the class of a loss that is known by this name, or was loaded from this place."""
    for known in (BUILT_IN, _OWN):
        if name in known:
            return known[name]
    if name in _offered():
        return _from_package(_offered()[name])
    if not _is_place(name):
        if ":" in name or "." in name:
            raise MarginfaceError(
                f"unknown loss '{name}'; a loss of one's own is module:Class, as my_losses:MyLoss"
            )
        raise unknown_name("loss", name, names())
    loss = _imported(name)
    if loss is None:
        module = name.partition(":")[0]
        raise MarginfaceError(
            f"the loss {name} is code that is not imported; code is imported only where the "
            f"command names it: give --loss {name} as well, or in Python import {module} first"
        )
    return loss


def awaits_import(name: str) -> bool:
    """Return whether a name is of code, "module:Class", that nobody has imported so far."""
    return _is_place(name) and _imported(name) is None


def place(name: str) -> str:
    """Return what another process knows a loss by: its name, or "module:Class" of a user's own."""
    loss = find(name)
    return name if loss in BUILT_IN.values() else f"{loss.__module__}:{loss.__qualname__}"


def load(text: str) -> Loss:
    """Return the class of a loss that a command line names, importing it from "module:Class".

    Modules in the current folder are found, too, after those that are installed. Call it with what
    a user typed, never with what a file says.
    """
    if not _is_place(text):
        return find(text)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    _at_place(text, f"the loss {text}")
    loss = _imported(text)
    if loss is None:
        raise MarginfaceError(
            f"{text} is no registered loss; its module should end with "
            f"marginface.losses.register({text.partition(':')[2]}, torch=..., tf=...)"
        )
    return loss


def runs_in(name: str, backend: str) -> bool:
    """Return whether a loss has tensor code for a backend, without importing it."""
    loss = find(name)
    return loss in BUILT_IN.values() or backend in _CODE[loss]


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
    found = {}
    for word in FAMILIES:
        module = importlib.import_module(f"{package}.{word}")
        for loss in of_family(word):
            named = (getattr(module, f"{base.__name__}Ops", None) for base in loss.__mro__)
            code = next((each for each in named if each is not None), None)
            if code is None:
                raise MarginfaceError(f"{module.__name__} has no {loss.__name__}Ops")
            found[loss] = code
    return found


def own_code(loss: Loss, backend: str) -> Any:
    """Return the tensor code of a loss of one's own, importing it.

    Raises:
        MarginfaceError: the loss is not registered, or without this backend; its code is not where
            it should be, or lacks a method.
    """
    if backend not in _CODE.get(loss, {}):
        raise _without_code(loss, backend)
    code = _CODE[loss][backend]
    if isinstance(code, str):
        code = _at_place(code, f"the code of {loss.__name__} for {backend}, {code},")
        _check_code(loss, backend, code)
    return code


def _without_code(loss: Loss, backend: str) -> MarginfaceError:
    given = _CODE.get(loss)
    if not given:
        return MarginfaceError(
            f"the loss {loss.__name__} is not registered; call "
            f"marginface.losses.register({loss.__name__}, {backend}=...) with its tensor code"
        )
    return MarginfaceError(
        f"loss '{loss.name}' has no code for backend {backend}, only for {', '.join(given)}; "
        f"choose that, or register it with {backend}= as well"
    )


def _check_loss(loss: Any) -> None:
    if not (isinstance(loss, type) and issubclass(loss, MarginLoss)):
        raise MarginfaceError(
            f"register takes a class derived from marginface.losses.MarginLoss, got {loss!r}"
        )
    kind = loss.__name__
    name = getattr(loss, "name", None)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise MarginfaceError(
            f"{kind} has {'no name' if name is None else f'the name {name!r}'}; give it one of "
            "small letters, digits and _, such as name: ClassVar[str] = 'my_loss'"
        )
    other = BUILT_IN.get(name) or _OWN.get(name)
    if other is not None and (
        name in BUILT_IN or _home(other) != _home(loss)  # a notebook's cell may run again
    ):
        raise MarginfaceError(
            f"{kind}: the name '{name}' is taken by {other.__module__}.{other.__name__}; choose "
            "another"
        )
    if "__dataclass_fields__" not in vars(loss):
        raise MarginfaceError(
            f"{kind} is no dataclass; write @dataclass(frozen=True, kw_only=True) above it"
        )
    for each in fields(loss):
        if each.default is MISSING or HELP not in each.metadata:
            raise MarginfaceError(
                f"{kind}: '{each.name}' says no default, range and meaning; declare it with "
                f"marginface.losses.parameter, as {each.name}: float = parameter(0.5, low=0, "
                "help='...')"
            )
    if loss.target is MarginLoss.target:
        raise MarginfaceError(
            f"{kind} has no target(self, cosine, norm, prepared), the target logit before the scale"
        )
    if bool(loss.draws) != (loss.draw is not MarginLoss.draw):
        has, lacks = ("draws", "draw(self, rng, batch)") if loss.draws else ("draw", "draws")
        raise MarginfaceError(
            f"{kind} has {has}, but no {lacks}; what is drawn at random needs both, draws with the "
            "names of the arrays that draw returns"
        )
    spec = loss()  # its own defaults are in its ranges
    if loss.prepare is MarginLoss.prepare:
        try:
            found: Any = spec.target(0.5, 1.0, {})
        except Exception as error:  # a user's code raises anything
            raise MarginfaceError(
                f"{kind}: target(0.5, 1.0, {{}}) raises {said(error)}; it gets a cosine, a norm "
                "and what prepare returns, here nothing"
            ) from error
        if not isinstance(found, Logit):
            raise MarginfaceError(
                f"{kind}: target(0.5, 1.0, {{}}) returns {found!r}; expected a "
                "marginface.losses.Logit(value, slope)"
            )


def _check_code(loss: Loss, backend: str, code: Any) -> None:
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


@cache
def _offered() -> dict[str, EntryPoint]:
    """The losses that installed packages offer, by name; a warning tells of a name taken twice."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in BUILT_IN or entry.name in found:
            first = _offer(found[entry.name]) if entry.name in found else "marginface's own"
            warnings.warn(
                f"passed over: {_offer(entry)}, as {first} has that name",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            found[entry.name] = entry
    return found


def _offer(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name}" if entry.dist else "an installed package"
    return f"the loss '{entry.name}' of {package} (entry point {entry.value})"


def _from_package(entry: EntryPoint) -> Loss:
    what, place = _offer(entry), entry.value.partition("[")[0].strip()  # without extras
    if not _is_place(place):
        raise MarginfaceError(f"{what}: an entry point is module:Class; {MEND}")
    try:
        loss = _at_place(place, "it")
    except Exception as error:  # a package's code raises anything when it is imported
        raise MarginfaceError(f"{what}: {said(error)}; {MEND}") from error
    if _OWN.get(entry.name) is not loss:
        raise MarginfaceError(f"{what}: no loss of that name is registered there; {MEND}")
    return _OWN[entry.name]


def _imported(text: str) -> Loss | None:
    """Return the registered loss at "module:Class", if that is imported; it imports nothing."""
    module, _, name = text.partition(":")
    loss = vars(sys.modules[module]).get(name) if module in sys.modules else None
    return loss if isinstance(loss, type) and loss in _OWN.values() else None


def _is_place(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(p.isidentifier() for p in module.split("."))


def _at_place(text: str, what: str) -> Any:
    """Import what is at "module:Class"."""
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


def _home(loss: Loss) -> tuple[str, str]:
    return loss.__module__, loss.__qualname__
