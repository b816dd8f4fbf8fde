"""ArcFace, and the combined margin of which it is the middle case."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class CombinedMargin(AngularLoss):
    """Combined margin (1801.07698, eq. 4): SphereFace's, ArcFace's and CosFace's in one.

    target logit = scale * (cos(m1 theta + m2) - m3)

    Past m1 theta + m2 = pi, where the cosine would rise again:
    - "monotone": cos(theta) - m2 sin(m2) - m3 for m1 = 1 (older InsightFace, CurricularFace);
      for m1 > 1 SphereFace's continuation (-1)^k cos(m1 theta + m2) - 2k - m3,
      k = floor((m1 theta + m2) / pi).
    - "clip": the angle stays at pi, the slope is 0 (AdaFace, opensphere).
    - "none": nothing, as InsightFace's arcface_torch does.

    In the wild:
        - arcface_torch takes (m1, m2, m3), drops m2 without a word when m3 > 0 as well, and
          raises a bare error for m1 != 1.

    Args:
        scale: radius of the hypersphere, > 0.
        m1: multiplies the angle, >= 1. Below 1 it would reward a larger angle.
        m2: added to the angle, radians, in [0, pi).
        m3: subtracted from the cosine, in [0, 2).
        gradient: "exact", the formula's derivative; "straight_through", d target / d cos = scale,
            what arcface_torch has done since December 2022.
        past_pi: "monotone", "clip" or "none".

    >>> round(CombinedMargin(m2=0.5).target(1.0, 1.0, {}).value, 6) == round(math.cos(0.5), 6)
    True
    """

    name: ClassVar[str] = "combined_margin"

    scale: float = 64.0
    m1: float = 1.0
    m2: float = 0.5
    m3: float = 0.0
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            "m1", 1 <= self.m1 < math.inf, "at least 1 (below, a larger angle is rewarded)"
        )
        self._require("m2", 0 <= self.m2 < math.pi, "in [0, pi) radians")
        self._require("m3", 0 <= self.m3 < 2, "in [0, 2)")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(m1 theta + m2) - m3."""
        logit, _ = self._angular(cosine, self.m1, self.m2)
        return Logit(logit.value - self.m3, logit.slope)


@dataclass(frozen=True, kw_only=True)
class ArcFace(AngularLoss):
    """ArcFace (1801.07698, eq. 3): an additive margin on the angle.

    target logit = scale * cos(theta + margin)

    In the wild:
        - InsightFace's arcface_torch, since December 2022, and CVLface edit the target logit in
          place without recording it: their gradient d target / d cos is `scale` for every sample,
          not scale sin(theta + margin) / sin(theta). That is gradient="straight_through".
        - arcface_torch does nothing past theta + margin = pi, where its logit rises again
          (past_pi="none"). Older InsightFace continues with cos(theta) - margin sin(margin), the
          default here, so that a larger angle always costs more (for margins up to 2.33).
        - Its sharded cross entropy clamps probabilities, so that it reports no loss above
          -ln(1e-30) = 69.0776, while the gradients are right.

    Args:
        scale: radius of the hypersphere, > 0.
        margin: added to the target angle, radians, in [0, pi); best between 0.45 and 0.5.
        easy_margin: the margin only where cos(theta) > 0, else cos(theta), an option of the first
            InsightFace.
        gradient: "exact", the formula's derivative, or "straight_through", d target / d cos =
            scale.
        past_pi: "monotone", "clip" (the angle stays at pi) or "none".

    >>> round(ArcFace(margin=0.5).target(0.0, 1.0, {}).value, 6) == round(-math.sin(0.5), 6)
    True
    """

    name: ClassVar[str] = "arcface"

    scale: float = 64.0
    margin: float = 0.5
    easy_margin: bool = False
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("margin", 0 <= self.margin < math.pi, "in [0, pi) radians")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin, easy_margin=self.easy_margin)[0]
