"""Li-ArcFace: logits that are linear in the angle."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import MIN_SINE, Gradient, Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class LiArcFace(MarginLoss):
    """Li-ArcFace (AirFace, 1907.12256): logits that are linear in the angle.

    target logit = scale * (pi - 2 (theta + margin)) / pi
    logit_j = scale * (pi - 2 theta_j) / pi

    The target falls with the angle over the whole range, so it needs no policy past pi.

    In the wild:
        - There is no official code; third parties use a margin of 0.40 to 0.45.
        - Some make only the target linear and leave the other classes their cosines.
        - Unguarded arccosines give NaN gradients at cos = +-1; here the slope 2 / (pi sin(theta))
          is held below sin(theta) = 0.001.

    >>> LiArcFace(margin=0.0).target(0.0, 1.0, {}).value
    0.0
    """

    name: ClassVar[str] = "li_arcface"
    panel: ClassVar[str] = "Linear and circular"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.45, low=0, below=math.pi, unit="radians", help="added to the target angle"
    )
    gradient: Gradient = parameter(
        "exact", help="`exact`, or `straight_through`, d logit / d cos = scale"
    )

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
