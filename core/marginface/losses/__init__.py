"""The losses: one file a family, each with its formula, defaults, source and NumPy reference."""

from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from marginface.errors import MarginfaceError, unknown_name
from marginface.losses.adaface import NORM_RANGE, STD_OFFSET, AdaFace
from marginface.losses.angular import AngularLoss
from marginface.losses.arcface import ArcFace, CombinedMargin
from marginface.losses.base import MIN_NORM, MIN_SINE, Evaluation, Logit, MarginLoss
from marginface.losses.checks import WEIGHT_STD, check_call, check_draw, check_head, check_range
from marginface.losses.circle import Circle
from marginface.losses.cosface import CosFace
from marginface.losses.curricularface import CurricularFace
from marginface.losses.elasticface import (
    ElasticFaceArc,
    ElasticFaceArcPlus,
    ElasticFaceCos,
    ElasticFaceCosPlus,
)
from marginface.losses.li_arcface import LiArcFace
from marginface.losses.magface import MagFace
from marginface.losses.softmax import NormFace, Softmax
from marginface.losses.sphereface import SphereFace, SphereFaceRV1, SphereFaceRV2
from marginface.losses.sphereface2 import SphereFace2
from marginface.losses.subcenter import SubCenterArcFace, angles_to_dominant
from marginface.losses.uniface import UniFace

__all__ = [
    "MIN_NORM",
    "MIN_SINE",
    "NORM_RANGE",
    "STD_OFFSET",
    "WEIGHT_STD",
    "AdaFace",
    "AngularLoss",
    "ArcFace",
    "Circle",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "ElasticFaceArc",
    "ElasticFaceArcPlus",
    "ElasticFaceCos",
    "ElasticFaceCosPlus",
    "Evaluation",
    "LiArcFace",
    "Logit",
    "MagFace",
    "MarginLoss",
    "NormFace",
    "Softmax",
    "SphereFace",
    "SphereFace2",
    "SphereFaceRV1",
    "SphereFaceRV2",
    "SubCenterArcFace",
    "UniFace",
    "angles_to_dominant",
    "as_loss",
    "check_call",
    "check_draw",
    "check_head",
    "check_range",
    "choices",
    "get",
    "names",
    "parameters",
]

_LOSSES: dict[str, type[MarginLoss]] = {
    loss.name: loss
    for loss in (
        Softmax,
        NormFace,
        SphereFace,
        SphereFaceRV1,
        SphereFaceRV2,
        SphereFace2,
        CosFace,
        ArcFace,
        CombinedMargin,
        LiArcFace,
        SubCenterArcFace,
        MagFace,
        AdaFace,
        CurricularFace,
        ElasticFaceArc,
        ElasticFaceArcPlus,
        ElasticFaceCos,
        ElasticFaceCosPlus,
        UniFace,
        Circle,
    )
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


def choices(name: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of a loss's parameters that are a choice among names, or yes and no.

    >>> choices("li_arcface")
    {'gradient': ('exact', 'straight_through')}
    """
    kinds = {key: get_type_hints(_LOSSES[name])[key] for key in parameters(name)}
    named = {key: get_args(kind) for key, kind in kinds.items() if get_origin(kind) is Literal}
    return named | {key: (False, True) for key, kind in kinds.items() if kind is bool}


def get(name: str, /, **values: Any) -> MarginLoss:
    """Return a loss by name.

    Raises:
        MarginfaceError: an unknown name, a parameter that the loss does not have, a value out of
            its range.

    >>> get("cosface", scale=64, margin=0.5)
    CosFace(scale=64, margin=0.5)
    """
    known = parameters(name)
    for parameter in values:
        if parameter not in known:
            raise unknown_name(f"{name} parameter", parameter, known)
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
