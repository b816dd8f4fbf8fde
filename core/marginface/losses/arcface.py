"""ArcFace, the combined margin, and ArcFace with several centres a class."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class ArcFace(AngularLoss):
    """ArcFace (1801.07698, eq. 3): an additive margin on the angle.

    target logit = scale * cos(theta + margin)

    In the wild:
        - InsightFace's arcface_torch (since December 2022) and CVLface change the target logit in
          place, without autograd recording it. Their gradient d target / d cos is `scale` for
          every sample, not scale sin(theta + margin) / sin(theta). This is
          gradient="straight_through".
        - arcface_torch does nothing past theta + margin = pi, so its logit rises again there
          (past_pi="none"). Older InsightFace continues with cos(theta) - margin sin(margin), the
          default here, so a larger angle always costs more (for margins up to 2.33).
        - leondgarse/Keras_insightface continues with -2 - cos(theta + margin), past_pi="mirror":
          no jump, and a larger angle costs more whatever the margin.
        - Its sharded cross entropy clamps probabilities, so it never reports a loss above
          -ln(1e-30) = 69.0776; the gradients are right.

    >>> round(ArcFace(margin=0.5).target(0.0, 1.0, {}).value, 6) == round(-math.sin(0.5), 6)
    True
    """

    name: ClassVar[str] = "arcface"
    panel: ClassVar[str] = "Additive margins"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.5,
        low=0,
        below=math.pi,
        unit="radians",
        help="added to the target angle; best between 0.45 and 0.5",
    )
    easy_margin: bool = parameter(
        False,
        help="the margin only where cos(theta) > 0, else cos(theta), an option of the first "
        "InsightFace",
    )
    gradient: Gradient = parameter(
        "exact",
        help="`exact`, the formula's derivative, or `straight_through`, d target / d cos = scale",
    )
    past_pi: PastPi = parameter(
        "monotone", help="`monotone`, `mirror`, `clip` (the angle stays at pi) or `none`"
    )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin, easy_margin=self.easy_margin)[0]


@dataclass(frozen=True, kw_only=True)
class CombinedMargin(AngularLoss):
    """Combined margin (1801.07698, eq. 4): SphereFace's, ArcFace's and CosFace's in one.

    target logit = scale * (cos(m1 theta + m2) - m3)

    Past m1 theta + m2 = pi, where the cosine would rise again:
    - "monotone": cos(theta) - m2 sin(m2) - m3 for m1 = 1 (older InsightFace, CurricularFace);
      for m1 > 1 SphereFace's continuation (-1)^k cos(m1 theta + m2) - 2k - m3,
      k = floor((m1 theta + m2) / pi).
    - "mirror": that continuation for m1 = 1, too, -2 - cos(theta + m2) - m3 (Keras_insightface).
    - "clip": the angle stays at pi, the slope is 0 (AdaFace, opensphere).
    - "none": nothing, as InsightFace's arcface_torch does.

    In the wild:
        - arcface_torch takes (m1, m2, m3). It silently drops m2 if m3 > 0, and raises a bare
          error for m1 != 1.

    >>> round(CombinedMargin(m2=0.5).target(1.0, 1.0, {}).value, 6) == round(math.cos(0.5), 6)
    True
    """

    name: ClassVar[str] = "combined_margin"
    panel: ClassVar[str] = "Additive margins"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    m1: float = parameter(
        1.0,
        low=1,
        why="below, a larger angle is rewarded",
        help="multiplies the angle",
    )
    m2: float = parameter(0.5, low=0, below=math.pi, unit="radians", help="added to the angle")
    m3: float = parameter(0.0, low=0, below=2, help="subtracted from the cosine")
    gradient: Gradient = parameter(
        "exact",
        help="`exact`, the formula's derivative; `straight_through`, d target / d cos = scale, "
        "what arcface_torch has done since December 2022",
    )
    past_pi: PastPi = parameter("monotone", help="`monotone`, `mirror`, `clip` or `none`")

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return curves at margins that neither ArcFace nor CosFace has."""
        return [Curve(cls(m2=0.3, m3=0.2), ", m2 = 0.3, m3 = 0.2")]

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(m1 theta + m2) - m3."""
        logit, _ = self._angular(cosine, self.m1, self.m2)
        return Logit(logit.value - self.m3, logit.slope)


@dataclass(frozen=True, kw_only=True)
class SubCenterArcFace(ArcFace):
    """Sub-center ArcFace (ECCV 2020): several centres for each class, of which the nearest
    counts.

    target logit = scale * cos(theta + margin), cos(theta_j) = max over k of cos(theta_jk)

    Noisy images gather at the minor centres. `angles_to_dominant` finds them after training.

    >>> SubCenterArcFace(centers=3).num_centers
    3
    """

    name: ClassVar[str] = "subcenter_arcface"
    shows_boundary: ClassVar[bool] = False  # ArcFace's

    centers: int = parameter(
        3, low=1, help="K, centres of a class; the head's weight is [classes * K, embedding_size]"
    )

    @property
    def num_centers(self) -> int:
        """Centres a class."""
        return self.centers
