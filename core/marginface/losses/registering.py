"""A loss of one's own: what it must be, and its place among those that are known by name."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any

from marginface.errors import MarginfaceError
from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import HELP, document_parameters
from marginface.losses.places import is_place
from marginface.losses.registry import BUILT_IN, OWN, Loss
from marginface.losses.tensor_code import CODE, Code, check_code
from marginface.losses.trial import try_spec

NAME = re.compile(r"[a-z][a-z0-9_]*")


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
            check_code(loss, backend, code)
        elif not is_place(code):
            raise MarginfaceError(
                f"{loss.__name__}: {backend}={code!r} is no place; expected 'module:Class'"
            )
    if loss not in CODE:
        document_parameters(loss)
    OWN[loss.name] = loss
    CODE.setdefault(loss, {}).update(given)


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
    other = BUILT_IN.get(name) or OWN.get(name)
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
    try_spec(loss())  # its own defaults are in its ranges


def _home(loss: Loss) -> tuple[str, str]:
    return loss.__module__, loss.__qualname__
