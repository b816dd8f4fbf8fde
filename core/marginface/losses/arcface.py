"""ArcFace, and the combined margin of which it is the middle case."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import MIN_SINE, Gradient, Logit, MarginLoss, PastPi


@dataclass(frozen=True, kw_only=True)
class CombinedMargin(MarginLoss):
    """Combined margin (ArcFace, 1801.07698, eq. 4): SphereFace's, ArcFace's and CosFace's in one.

    target logit = scale * (cos(m1 theta + m2) - m3)

    Past m1 theta + m2 = pi, where the cosine would rise again:
    - "monotone": cos(theta) - m2 sin(m2) - m3 for m1 = 1 (older InsightFace, CurricularFace);
      for m1 > 1 SphereFace's continuation (-1)^k cos(m1 theta + m2) - 2k - m3,
      k = floor((m1 theta + m2) / pi).
    - "clip": the angle stays at pi, the slope is 0 (AdaFace, opensphere).
    - "none": nothing, as InsightFace's arcface_torch does.

    Args:
        scale: radius of the hypersphere, > 0.
        m1: multiplies the angle, >= 1. Below 1 it would reward a larger angle.
        m2: added to the angle, radians, in [0, pi).
        m3: subtracted from the cosine, in [0, 2).
        gradient: "exact", the formula's derivative; "straight_through", d target / d cos = scale,
            what arcface_torch has done since December 2022.
        past_pi: "monotone", "clip" or "none".

    >>> round(CombinedMargin(m2=0.5).target(1.0).value, 6) == round(math.cos(0.5), 6)
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
        _require_modes(self)

    def target(self, cosine: float, **prepared: float) -> Logit:
        """Return cos(m1 theta + m2) - m3, with its slope."""
        del prepared
        return combined_target(
            cosine, (self.m1, self.m2, self.m3), gradient=self.gradient, past_pi=self.past_pi
        )


@dataclass(frozen=True, kw_only=True)
class ArcFace(MarginLoss):
    """ArcFace (1801.07698, eq. 3): an additive margin on the angle.

    target logit = scale * cos(theta + margin)

    Args:
        scale: radius of the hypersphere, > 0.
        margin: added to the target angle, radians, in [0, pi); best between 0.45 and 0.5.
        gradient: as in `CombinedMargin`.
        past_pi: as in `CombinedMargin`; "monotone" is cos(theta) - margin sin(margin).

    >>> round(ArcFace(margin=0.5).target(0.0).value, 6) == round(-math.sin(0.5), 6)
    True
    """

    name: ClassVar[str] = "arcface"

    scale: float = 64.0
    margin: float = 0.5
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("margin", 0 <= self.margin < math.pi, "in [0, pi) radians")
        _require_modes(self)

    @property
    def m1(self) -> float:
        """The angle is not multiplied."""
        return 1.0

    @property
    def m2(self) -> float:
        """The margin, as the combined margin names it."""
        return self.margin

    @property
    def m3(self) -> float:
        """Nothing is subtracted from the cosine."""
        return 0.0

    def target(self, cosine: float, **prepared: float) -> Logit:
        """Return cos(theta + margin), with its slope."""
        del prepared
        return combined_target(
            cosine, (1.0, self.margin, 0.0), gradient=self.gradient, past_pi=self.past_pi
        )


def combined_target(
    cosine: float, margins: tuple[float, float, float], *, gradient: Gradient, past_pi: PastPi
) -> Logit:
    """Return cos(m1 theta + m2) - m3 under a past-pi policy, with its slope in a gradient mode."""
    m1, m2, m3 = margins
    theta = math.acos(min(max(cosine, -1.0), 1.0))
    angle = m1 * theta + m2
    factor = m1 / max(math.sin(theta), MIN_SINE)  # - d angle / d cos(theta)
    turns = math.floor(angle / math.pi) if m1 > 1 else int(angle > math.pi)
    if turns == 0 or past_pi == "none":
        value, slope = math.cos(angle), math.sin(angle) * factor
    elif past_pi == "clip":
        value, slope = -1.0, 0.0
    elif m1 > 1:
        sign = (-1.0) ** turns
        value, slope = sign * math.cos(angle) - 2 * turns, sign * math.sin(angle) * factor
    else:
        value, slope = cosine - m2 * math.sin(m2), 1.0
    return Logit(value - m3, 1.0 if gradient == "straight_through" else slope)


def _require_modes(loss: ArcFace | CombinedMargin) -> None:
    gradients, policies = ("exact", "straight_through"), ("monotone", "clip", "none")
    loss._require("gradient", loss.gradient in gradients, f"one of {gradients}")
    loss._require("past_pi", loss.past_pi in policies, f"one of {policies}")
