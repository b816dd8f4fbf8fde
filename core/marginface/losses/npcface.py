"""NPCFace: hard negatives count more, and the more of them, the larger a sample's own margin."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import angular
from marginface.losses.base import Curve, MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class NPCFace(MarginLoss):
    """NPCFace (2007.10172): hard negatives count more, and their mean cosine sets the margin.

    target logit = scale * cos(theta + m) where cos(theta) > 0, else scale * cos(theta)
    m = m0 + m1 * mean of cos(theta_j) over the hard negatives, m0 where none is hard
    logit_j = scale * cos(theta_j)              where cos(theta_j) <= cos(theta + threshold_margin)
    logit_j = scale * (t cos(theta_j) + a)      for the others, the hard ones

    Which negatives are hard, and m, are constants to the gradient. Of a sample of classes the mean
    is that over the sampled ones, each as often as it counts for others.

    In the wild:
        - The defaults are those of FaceX-Zoo's code, by the same authors. Its configuration has
          threshold_margin = 0.35 and scale = 32. There m0, m1, t and a cannot be chosen.

    >>> NPCFace().negative(0.5, {"threshold": 0.4}).value
    0.75
    """

    name: ClassVar[str] = "npcface"
    tallies: ClassVar[tuple[str, ...]] = ("hard", "hard_cosines")
    panel: ClassVar[str] = "Hard negatives set the margin"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    m0: float = parameter(
        0.40, low=0, high=math.pi / 2, unit="radians", help="the margin where no negative is hard"
    )
    m1: float = parameter(0.20, low=0, help="what the mean of the hard cosines is multiplied by")
    t: float = parameter(1.10, low=1, help="multiplies the cosines of hard negatives")
    a: float = parameter(0.20, low=0, help="added to the cosines of hard negatives")
    threshold_margin: float = parameter(
        0.5,
        low=0,
        below=math.pi,
        unit="radians",
        help="how much nearer than cos(theta) hard begins",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # The margin acts below theta = pi / 2, so that theta + m stays below pi.
        limit = math.pi / 2 - self.m0
        self._require("m1", self.m1 <= limit, f"at most pi / 2 - m0 = {limit:.4g}")

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target without hard negatives and with near ones, and a hard negative."""
        none = {"hard": 0.0, "hard_cosines": 0.0}
        near = {"hard": 1.0, "hard_cosines": 0.8}
        return [
            Curve(cls(), prepared=none),
            Curve(cls(), ", hard ones at 0.8", prepared=near),
            Curve(cls(), ", hard", prepared={"threshold": -2.0}, negative=True),
        ]

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return, as `threshold`, the cosine above which a negative is hard."""
        threshold = [math.cos(math.acos(c) + self.threshold_margin) for c in cosines]
        return {"threshold": np.array(threshold)}, dict(state)

    def tally(self, cosine: float, prepared: Numbers) -> dict[str, float]:
        """Return 1 and the cosine of a hard negative."""
        hard = cosine > prepared["threshold"]
        return {"hard": float(hard), "hard_cosines": cosine * hard}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + m)."""
        mean = prepared["hard_cosines"] / prepared["hard"] if prepared["hard"] else 0.0
        margin = self.m0 + self.m1 * mean
        value, slope, _ = angular(cosine, 1.0, margin, past_pi="none", easy_margin=True)
        return Logit(value, slope)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return the cosine, or t cos + a of a hard negative."""
        if cosine <= prepared["threshold"]:
            return Logit(cosine, 1.0)
        return Logit(self.t * cosine + self.a, self.t)
