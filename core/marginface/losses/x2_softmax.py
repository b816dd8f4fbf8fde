"""X2-Softmax: a target logit that falls with the square of the angle."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import MIN_SINE, Gradient, Logit, Numbers

MIN_ANGLE = math.asin(MIN_SINE)


@dataclass(frozen=True, kw_only=True)
class X2Softmax(MarginLoss):
    """X2-Softmax (2312.05281): a target logit that falls with the square of the angle.

    target logit = scale * (a (theta - h)^2 + k)

    The margin, the angle by which the target must be ahead, grows with the angle between classes.
    The logit falls all the way to theta = pi, so it needs no policy there. Its slope to the cosine,
    -2 a (theta - h) / sin(theta), has a pole at pi, and for h < 0 at 0, too: where sin(theta) is
    below 0.001, the slope is that of the nearest angle with such a sine.

    In the wild:
        - The defaults here are those of the released code, work.sh in XieZixiUSTC/X2-Softmax; they
          are not checked against the paper's text.
        - That code computes the logit without recording it: its gradient d target / d cos is
          `scale` for every sample. That is gradient="straight_through".

    >>> X2Softmax().target(1.0, 1.0, {}).value
    0.65
    """

    name: ClassVar[str] = "x2_softmax"
    panel: ClassVar[str] = "Linear and circular"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    a: float = parameter(-0.9, below=0, help="how fast the logit falls with the squared angle")
    h: float = parameter(
        0.0,
        high=0,
        unit="radians",
        why="above, a larger angle is rewarded",
        help="the angle at which the logit would be largest",
    )
    k: float = parameter(0.65, help="the logit there; 1 is the cosine's at theta = 0")
    gradient: Gradient = parameter(
        "exact", help="`exact`, or `straight_through`, d target / d cos = scale"
    )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return a (theta - h)^2 + k."""
        theta = math.acos(min(max(cosine, -1.0), 1.0))
        near = min(max(theta, MIN_ANGLE), math.pi - MIN_ANGLE)
        exact = -2 * self.a * (near - self.h) / max(math.sin(theta), MIN_SINE)
        slope = exact if self.gradient == "exact" else 1.0
        return Logit(self.a * (theta - self.h) ** 2 + self.k, slope)
