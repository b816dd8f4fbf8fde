"""MagFace: a margin that grows with the embedding's norm, and a pull on the norm."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class MagFace(AngularLoss):
    """MagFace (2103.06627): ArcFace whose margin grows with the norm, which becomes a quality.

    target logit = scale * cos(theta + m(a)), a = clamp(|x|, l_a, u_a)
    m(a) = l_margin + (u_margin - l_margin) / (u_a - l_a) * (a - l_a)
    loss = softmax loss + lambda_g * mean(g(a)), g(a) = 1 / a + a / u_a^2

    Gradient flows through the norm in both terms, and stops where it is clamped: embeddings that
    start shorter than l_a get no pull. The paper asks for a lambda_g large enough to keep the
    optimal norm inside.

    In the wild:
        - The authors' script trains with easy_margin and lambda_g = 35, the defaults here; the
          argument's own default is 20. The paper's text has no easy margin: easy_margin=False.

    Args:
        scale: radius of the hypersphere, > 0.
        l_a: smallest norm that counts, > 0.
        u_a: largest norm that counts, > l_a.
        l_margin: margin at l_a, radians, in [0, u_margin].
        u_margin: margin at u_a, radians, below pi.
        lambda_g: weight of the pull on the norm, >= 0.
        easy_margin: the margin only where cos(theta) > 0, else cos(theta).
        gradient: "exact", or "straight_through", d target / d cos = scale; the norm's gradient
            is the formula's in both.
        past_pi: "monotone", "clip" (the angle stays at pi) or "none"; with an easy margin of at
            most pi / 2 it never comes to that.

    >>> round(MagFace().target(1.0, 10.0, {}).value, 6) == round(math.cos(0.45), 6)
    True
    """

    name: ClassVar[str] = "magface"

    scale: float = 64.0
    l_a: float = 10.0
    u_a: float = 110.0
    l_margin: float = 0.45
    u_margin: float = 0.80
    lambda_g: float = 35.0
    easy_margin: bool = True
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("l_a", 0 < self.l_a < math.inf, "greater than 0")
        self._require("u_a", self.l_a < self.u_a < math.inf, f"greater than l_a = {self.l_a}")
        self._require("u_margin", 0 <= self.u_margin < math.pi, "in [0, pi) radians")
        self._require(
            "l_margin", 0 <= self.l_margin <= self.u_margin, f"in [0, u_margin = {self.u_margin}]"
        )
        self._require("lambda_g", 0 <= self.lambda_g < math.inf, "at least 0")

    @property
    def margin_slope(self) -> float:
        """d m / d a between l_a and u_a."""
        return (self.u_margin - self.l_margin) / (self.u_a - self.l_a)

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + m(a))."""
        margin = self.l_margin + self.margin_slope * (self._clamp(norm) - self.l_a)
        logit, slope = self._angular(cosine, 1.0, margin, easy_margin=self.easy_margin)
        return Logit(logit.value, logit.slope, slope * self.margin_slope * self._inside(norm))

    def penalty(self, norm: float) -> tuple[float, float]:
        """Return lambda_g g(a)."""
        a = self._clamp(norm)
        slope = (1 / self.u_a**2 - 1 / a**2) * self._inside(norm)
        return self.lambda_g * (a / self.u_a**2 + 1 / a), self.lambda_g * slope

    def _clamp(self, norm: float) -> float:
        return min(max(norm, self.l_a), self.u_a)

    def _inside(self, norm: float) -> bool:
        return self.l_a <= norm <= self.u_a
