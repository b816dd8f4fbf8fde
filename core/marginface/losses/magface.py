"""MagFace: a margin that grows with the embedding's norm, and a pull on the norm."""

import math
from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class MagFace(AngularLoss):
    """MagFace (2103.06627): ArcFace with a margin that grows with the norm, which comes to
    measure quality.

    target logit = scale * cos(theta + m(a)), a = clamp(|x|, l_a, u_a)
    m(a) = l_margin + (u_margin - l_margin) / (u_a - l_a) * (a - l_a)
    loss = softmax loss + lambda_g * mean(g(a)), g(a) = 1 / a + a / u_a^2

    Gradient flows through the norm in both terms, but not where the norm is clamped: embeddings
    that start shorter than l_a are not pulled. The paper asks for a lambda_g large enough to keep
    the best norm inside.

    In the wild:
        - The authors' script trains with easy_margin and lambda_g = 35, the defaults here; the
          argument's own default is 20. The paper's text has no easy margin: easy_margin=False.

    >>> round(MagFace().target(1.0, 10.0, {}).value, 6) == round(math.cos(0.45), 6)
    True
    """

    name: ClassVar[str] = "magface"
    panel: ClassVar[str] = "Norm as quality"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    l_a: float = parameter(10.0, above=0, help="smallest norm that counts")
    u_a: float = parameter(110.0, above=0, help="largest norm that counts")
    l_margin: float = parameter(0.45, low=0, below=math.pi, unit="radians", help="margin at l_a")
    u_margin: float = parameter(0.80, low=0, below=math.pi, unit="radians", help="margin at u_a")
    lambda_g: float = parameter(35.0, low=0, help="weight of the pull on the norm")
    easy_margin: bool = parameter(
        True, help="the margin only where cos(theta) > 0, else cos(theta)"
    )
    gradient: Gradient = parameter(
        "exact",
        help="`exact`, or `straight_through`, d target / d cos = scale; the norm's gradient is the "
        "formula's in both",
    )
    past_pi: PastPi = parameter(
        "monotone",
        help="`monotone`, `mirror`, `clip` (the angle stays at pi) or `none`; with an easy margin "
        "of at most pi / 2 it never comes to that",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("u_a", self.l_a < self.u_a, f"greater than l_a = {self.l_a}")
        self._require(
            "l_margin", self.l_margin <= self.u_margin, f"in [0, u_margin = {self.u_margin}]"
        )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target at the norms' ends and between them."""
        return [Curve(cls(), f", norm {norm:g}", norm) for norm in (10.0, 60.0, 110.0)]

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
