"""The losses: one file a family, each with its formula, defaults, source and NumPy reference."""

from dataclasses import MISSING, fields
from numbers import Real
from typing import Any

from marginface.errors import MarginfaceError, unknown_name
from marginface.losses.arcface import ArcFace, CombinedMargin
from marginface.losses.base import MIN_NORM, MIN_SINE, Evaluation, Logit, MarginLoss
from marginface.losses.checks import WEIGHT_STD, check_call, check_head, check_range
from marginface.losses.cosface import CosFace
from marginface.losses.softmax import NormFace, Softmax

__all__ = [
    "MIN_NORM",
    "MIN_SINE",
    "WEIGHT_STD",
    "ArcFace",
    "CombinedMargin",
    "CosFace",
    "Evaluation",
    "Logit",
    "MarginLoss",
    "NormFace",
    "Softmax",
    "as_loss",
    "check_call",
    "check_head",
    "check_range",
    "get",
    "names",
    "parameters",
]

_LOSSES: dict[str, type[MarginLoss]] = {
    loss.name: loss for loss in (Softmax, NormFace, CosFace, ArcFace, CombinedMargin)
}


def names() -> list[str]:
    """Return the names that `get` accepts."""
    return list(_LOSSES)


def parameters(name: str) -> dict[str, Any]:
    """Return a loss's parameters with their defaults.

    >>> parameters("cosface")
    {'scale': 64.0, 'margin': 0.4}
    """
    if name not in _LOSSES:
        raise unknown_name("loss", name, _LOSSES)
    return {f.name: f.default for f in fields(_LOSSES[name]) if f.default is not MISSING}


def get(name: str, **values: Any) -> MarginLoss:
    """Return a loss by name.

    Raises:
        MarginfaceError: an unknown name, a parameter that the loss does not have, a value out of
            its range.

    >>> get("arcface", scale=64, margin=0.5)
    ArcFace(scale=64, margin=0.5, gradient='exact', past_pi='monotone')
    """
    known = parameters(name)
    for parameter, value in values.items():
        if parameter not in known:
            raise unknown_name(f"{name} parameter", parameter, known)
        wanted = str if isinstance(known[parameter], str) else Real
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a name" if wanted is str else "a number"
            raise MarginfaceError(f"{name}: {parameter} must be {kind}, got {value!r}")
    return _LOSSES[name](**values)


def as_loss(loss: MarginLoss | str) -> MarginLoss:
    """Return a loss that an argument gives by name, or as it is."""
    if isinstance(loss, str):
        return get(loss)
    if not isinstance(loss, MarginLoss):
        raise MarginfaceError(
            f"loss must be a name or what marginface.losses.get returns, got {loss!r}"
        )
    return loss
