"""The losses: one file a family, each with its formula, defaults, source and NumPy reference."""

from typing import TYPE_CHECKING

from marginface.losses.angular import AngularLoss
from marginface.losses.base import MarginLoss
from marginface.losses.dominant import angles_to_dominant
from marginface.losses.hyperparameters import parameter
from marginface.losses.latest import LatestEmbedding
from marginface.losses.reference import Evaluation
from marginface.losses.registering import register
from marginface.losses.registry import (
    BUILT_IN,
    as_loss,
    choices,
    get,
    load,
    names,
    parameters,
)
from marginface.losses.values import MIN_NORM, MIN_SINE, Logit, Memory, Sample

__all__ = [
    "MIN_NORM",
    "MIN_SINE",
    "AngularLoss",
    "Evaluation",
    "LatestEmbedding",
    "Logit",
    "MarginLoss",
    "Memory",
    "Sample",
    "angles_to_dominant",
    "as_loss",
    "choices",
    "get",
    "load",
    "names",
    "parameter",
    "parameters",
    "register",
]

# `losses.ArcFace` and all others.
globals().update({loss.__name__: loss for loss in BUILT_IN.values()})
if TYPE_CHECKING:
    from marginface.losses.families import *
