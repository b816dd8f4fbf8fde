"""MV-Softmax: negatives that beat the target, margin included, count more."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Gradient, Logit, Numbers, PastPi

ALL_HARD = {"threshold": -2.0}


@dataclass(frozen=True, kw_only=True)
class MVSoftmaxAM(MarginLoss):
    """MV-AM-Softmax (1912.00833): CosFace that pushes hard negatives further.

    target logit = scale * (cos(theta) - margin) where cos(theta) > margin, else scale * cos(theta)
    logit_j = scale * cos(theta_j)                  where cos(theta_j) <= cos(theta) - margin
    logit_j = scale * (t cos(theta_j) + t - 1)      for the others, the hard ones

    What is hard is told by cos(theta) - margin, also where the target keeps no margin.

    In the wild:
        - The authors' code (xiaoboCASIA/SV-X-Softmax) writes (1 + t) cos(theta_j) + t, so that its
          t = 0.2 is t = 1.2 here. It has the margin where cos(theta) > 0, which is
          margin_where="above_zero".
        - FaceX-Zoo has the formula above with t = 1.12, the default here.
        - A commented line of the authors' code adds a constant to hard negatives instead. That is
          not here.

    >>> MVSoftmaxAM(t=1.5).negative(0.5, {"threshold": 0.4}).value
    1.25
    """

    name: ClassVar[str] = "mv_am"
    panel: ClassVar[str] = "Re-weighted negatives"

    scale: float = parameter(32.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(0.35, low=0, below=2, help="subtracted from the target cosine")
    t: float = parameter(1.12, low=1, help="how much more a hard negative counts; 1 is CosFace")
    margin_where: Literal["above_margin", "above_zero", "everywhere"] = parameter(
        "above_margin",
        help="the margin is kept where cos(theta) > margin, `above_margin` (FaceX-Zoo), where "
        "cos(theta) > 0, `above_zero` (the authors' code), or `everywhere`, as in CosFace",
    )

    @property
    def lowest(self) -> float:
        """The cosine above which the target keeps its margin."""
        return {"above_margin": self.margin, "above_zero": 0.0, "everywhere": -math.inf}[
            self.margin_where
        ]

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target, and hard negatives."""
        return [Curve(cls()), Curve(cls(), ", hard negatives", 1.0, ALL_HARD, True)]

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return `threshold`, the cosine above which a negative is hard."""
        return {"threshold": cosines - self.margin}, {}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return the cosine, less the margin where it is kept."""
        return Logit(cosine - self.margin if cosine > self.lowest else cosine, 1.0)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return the cosine, or t cos + t - 1 of a hard negative."""
        return _pushed(cosine, self.t, prepared)


@dataclass(frozen=True, kw_only=True)
class MVSoftmaxArc(AngularLoss):
    """MV-Arc-Softmax (1912.00833): ArcFace that pushes hard negatives further.

    target logit = scale * cos(theta + margin) where cos(theta) > 0, else scale * cos(theta)
    logit_j = scale * cos(theta_j)                  where cos(theta_j) <= cos(theta + margin)
    logit_j = scale * (t cos(theta_j) + t - 1)      for the others, the hard ones

    What is hard is told by cos(theta + margin) itself, whatever easy_margin and past_pi make of
    the target.

    In the wild:
        - The authors' code (xiaoboCASIA/SV-X-Softmax) writes (1 + t) cos(theta_j) + t, so that its
          t = 0.2 is t = 1.2 here.
        - FaceX-Zoo has the formula above with t = 1.12, the default here.
        - Both take sqrt(1 - cos^2) as it is, so that their gradient is no number at cosines of
          +-1.

    >>> MVSoftmaxArc().target(-0.5, 1.0, {}).value
    -0.5
    """

    name: ClassVar[str] = "mv_arc"
    panel: ClassVar[str] = "Re-weighted negatives"

    scale: float = parameter(32.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.35, low=0, below=math.pi, unit="radians", help="added to the target angle"
    )
    t: float = parameter(1.12, low=1, help="how much more a hard negative counts; 1 is ArcFace")
    easy_margin: bool = parameter(True, help="the margin only where cos(theta) > 0")
    gradient: Gradient = parameter(
        "exact", help="of the target: `exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: PastPi = parameter(
        "monotone",
        help="`monotone`, `mirror`, `clip` (the angle stays at pi) or `none`; with an easy margin "
        "of at most pi / 2 it never comes to that",
    )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target, and hard negatives."""
        return [Curve(cls()), Curve(cls(), ", hard negatives", 1.0, ALL_HARD, True)]

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return `threshold`, the cosine above which a negative is hard."""
        return {"threshold": np.cos(np.arccos(cosines) + self.margin)}, {}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin, easy_margin=self.easy_margin)[0]

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return the cosine, or t cos + t - 1 of a hard negative."""
        return _pushed(cosine, self.t, prepared)


def _pushed(cosine: float, t: float, prepared: Numbers) -> Logit:
    """Return a negative's cosine, or t cos + t - 1 above the threshold."""
    if cosine <= prepared["threshold"]:
        return Logit(cosine, 1.0)
    return Logit(t * cosine + t - 1, t)
