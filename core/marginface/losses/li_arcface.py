"""Li-ArcFace: logits that are linear in the angle."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import GRADIENTS
from marginface.losses.base import MIN_SINE, Gradient, Logit, MarginLoss, Numbers


@dataclass(frozen=True, kw_only=True)
class LiArcFace(MarginLoss):
    """Li-ArcFace (AirFace, 1907.12256): logits that are linear in the angle.

    target logit = scale * (pi - 2 (theta + margin)) / pi
    logit_j = scale * (pi - 2 theta_j) / pi

    The target falls with the angle all the way, so it needs no policy past pi.

    In the wild:
        - There is no official code; third parties take a margin of 0.40 to 0.45.
        - Some make the target linear only and leave the other classes their cosines.
        - Unguarded arccosines give NaN gradients at cos = +-1; here the slope 2 / (pi sin(theta))
          is held below sin(theta) = 0.001.

    Args:
        scale: > 0.
        margin: added to the target angle, radians, in [0, pi).
        gradient: "exact", or "straight_through", d logit / d cos = scale.

    >>> LiArcFace(margin=0.0).target(0.0, 1.0, {}).value
    0.0
    """

    name: ClassVar[str] = "li_arcface"

    scale: float = 64.0
    margin: float = 0.45
    gradient: Gradient = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("gradient", GRADIENTS)
        self._require("margin", 0 <= self.margin < math.pi, "in [0, pi) radians")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return 1 - 2 (theta + margin) / pi."""
        return self._linear(cosine, self.margin)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return 1 - 2 theta_j / pi."""
        return self._linear(cosine, 0.0)

    def _linear(self, cosine: float, margin: float) -> Logit:
        theta = math.acos(min(max(cosine, -1.0), 1.0))
        slope = 2 / (math.pi * max(math.sin(theta), MIN_SINE)) if self.gradient == "exact" else 1.0
        return Logit(1 - 2 * (theta + margin) / math.pi, slope)
