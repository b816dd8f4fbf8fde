"""Circle loss in its form for classification."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class Circle(MarginLoss):
    """Circle loss (2002.10857, eq. 6): each similarity is weighted by its distance to the optimum.

    target logit = scale * a_p (cos(theta) - (1 - margin)), a_p = max(1 + margin - cos(theta), 0)
    logit_j = scale * a_n (cos(theta_j) - margin), a_n = max(cos(theta_j) + margin, 0)

    In the wild:
        - The paper's gradient treats the weights a_p, a_n as constants, and so do
          implementations: gradient="detached", the default. "exact" is the derivative of the
          formula itself.

    >>> Circle(margin=0.25).target(0.75, 1.0, {}).value
    0.0
    """

    name: ClassVar[str] = "circle"
    panel: ClassVar[str] = "Linear and circular"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(256.0, above=0, help="gamma of the paper")
    margin: float = parameter(0.25, low=0, below=1, help="0.25 is the paper's for faces")
    gradient: Literal["detached", "exact"] = parameter("detached", help="`detached` or `exact`")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return a_p (cos(theta) - (1 - margin))."""
        weight = max(1 + self.margin - cosine, 0.0)
        return Logit(
            weight * (cosine - (1 - self.margin)),
            weight if self.gradient == "detached" else (2 - 2 * cosine) * (weight > 0),
        )

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return a_n (cos(theta_j) - margin)."""
        weight = max(cosine + self.margin, 0.0)
        return Logit(
            weight * (cosine - self.margin),
            weight if self.gradient == "detached" else 2 * cosine * (weight > 0),
        )
