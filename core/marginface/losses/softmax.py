"""Softmax, with and without normalised features and weights."""

from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import Logit, MarginLoss


@dataclass(frozen=True, kw_only=True)
class Softmax(MarginLoss):
    """Plain softmax cross entropy on W x + b: no normalisation, no margin.

    logit_j = scale * (w_j . x + b_j)

    >>> Softmax().normalized
    False
    """

    name: ClassVar[str] = "softmax"
    normalized: ClassVar[bool] = False

    scale: float = 1.0

    def target(self, cosine: float, **prepared: float) -> Logit:
        """Return the logit itself."""
        del prepared
        return Logit(cosine, 1.0)


@dataclass(frozen=True, kw_only=True)
class NormFace(MarginLoss):
    """NormFace: softmax over scaled cosines (1704.06369, eq. 6).

    logit_j = scale * cos(theta_j)

    Args:
        scale: radius of the hypersphere, > 0.

    >>> NormFace(scale=64).target(0.5)
    Logit(value=0.5, slope=1.0)
    """

    name: ClassVar[str] = "normface"

    scale: float = 64.0

    def target(self, cosine: float, **prepared: float) -> Logit:
        """Return the cosine itself."""
        del prepared
        return Logit(cosine, 1.0)
