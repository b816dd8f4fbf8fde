"""Softmax, with and without normalised features and weights."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Float, Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class Softmax(MarginLoss):
    """Softmax: plain cross entropy on W x + b, no normalisation, no margin.

    logit_j = scale * w_j . x + b_j

    >>> Softmax().normalized
    False
    """

    name: ClassVar[str] = "softmax"
    normalized: ClassVar[bool] = False
    panel: ClassVar[str] = ""

    scale: float = parameter(1.0, above=0, help="multiplies the products; 1 is the textbook's")

    def initial_bias(self, num_classes: int) -> Float:
        """Return zeros, one for each class."""
        return np.zeros(num_classes)

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return the logit itself."""
        return Logit(cosine, 1.0)


@dataclass(frozen=True, kw_only=True)
class NormFace(MarginLoss):
    """NormFace (1704.06369, eq. 6): softmax over scaled cosines, no margin.

    logit_j = scale * cos(theta_j)

    >>> NormFace(scale=64).target(0.5, 1.0, {}).value
    0.5
    """

    name: ClassVar[str] = "normface"
    panel: ClassVar[str] = ""
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return the cosine itself."""
        return Logit(cosine, 1.0)
