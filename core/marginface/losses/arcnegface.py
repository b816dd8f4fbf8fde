"""ArcNegFace: negatives near the target's logit count more, far ones less."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class ArcNegFace(AngularLoss):
    """ArcNegFace (1909.00632): ArcFace with negatives weighted by their distance to the target.

    target logit = scale * a, a = cos(theta + margin)
    logit_j = scale * (w (cos(theta_j) + 1) - 1), w = alpha exp(-(cos(theta_j) - a)^2 / sigma)

    a is a constant to the negatives. With the defaults w is above 1 within 0.6 of a.

    In the wild:
        - The authors' code (liuyuisanai/trojans-face-recognizer, which FaceX-Zoo copied) treats w
          as a constant, too: weight_gradient="detached", the default. The formula's derivative,
          "exact", is negative where (cos(theta_j) + 1) (cos(theta_j) - a) > sigma / 2: there it
          would pull a hard negative closer.
        - Its a is the target after what past_pi makes of it, cos(theta) - margin sin(margin), as
          here.
        - Its easy_margin leaves out the weights, too, so that it is ArcFace. That is not here.

    >>> round(ArcNegFace().negative(0.5, {"a": 0.5}).value, 6)
    0.8
    """

    name: ClassVar[str] = "arcnegface"
    panel: ClassVar[str] = "Re-weighted negatives"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.5, low=0, below=math.pi, unit="radians", help="added to the target angle"
    )
    alpha: float = parameter(1.2, above=0, help="weight of a negative at a")
    sigma: float = parameter(
        2.0,
        above=0,
        help="divides the squared distance to a; the larger, the farther a weight reaches",
    )
    weight_gradient: Literal["detached", "exact"] = parameter(
        "detached", help="of the negatives: `detached` (w is a constant) or `exact`"
    )
    gradient: Gradient = parameter(
        "exact", help="of the target: `exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: PastPi = parameter(
        "monotone",
        help="`monotone` (the authors' code), `mirror`, `clip` (the angle stays at pi) or `none`",
    )

    @property
    def exact(self) -> bool:
        """Whether every slope is the derivative of its value."""
        return super().exact and self.weight_gradient == "exact"

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return negatives of samples at two angles; the target is ArcFace's."""
        loss = cls()
        return [Curve(loss, f", others, a = {a:g}", 1.0, {"a": a}, True) for a in (0.6, 0.0)]

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return each sample's a, its target logit before the scale."""
        return {"a": np.array([self.target(float(c), 1.0, {}).value for c in cosines])}, {}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin)[0]

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return w (cos + 1) - 1."""
        ahead = cosine - prepared["a"]
        weight = self.alpha * math.exp(-(ahead**2) / self.sigma)
        fall = 2 * (cosine + 1) * ahead / self.sigma if self.weight_gradient == "exact" else 0.0
        return Logit(weight * (cosine + 1) - 1, weight * (1 - fall))
