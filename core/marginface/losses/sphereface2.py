"""SphereFace2: one binary question a class instead of one choice among all."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Float, Gradient, Logit, Numbers, Sum, softplus_sum


@dataclass(frozen=True, kw_only=True)
class SphereFace2(MarginLoss):
    """SphereFace2-C (2108.01513): binary cross entropy for every class, with a shared bias.

    loss = lw / scale * (alpha softplus(-t) + (1 - alpha) sum_j softplus(n_j))
    t = scale * (g(cos(theta)) - margin) + b
    n_j = scale * (g(cos(theta_j)) + margin) + b
    g(c) = 2 ((c + 1) / 2)^t - 1

    The bias b is learned. It starts at the value that minimises the loss if all cosines are 0.

    In the wild:
        - The authors' code (opensphere) takes d g / d cos as 1, and the published models were
          trained so: gradient="straight_through", the default here. "exact" is the formula's
          derivative.
        - It takes the mean over batch and classes with weights lw classes / scale, which equals
          this sum.

    >>> SphereFace2(t=1.0, margin=0.25).target(0.5, 1.0, {}).value
    0.25
    """

    name: ClassVar[str] = "sphereface2"
    adds: ClassVar[Sum] = "softplus"
    panel: ClassVar[str] = "Binary"

    scale: float = parameter(40.0, above=0, help="r in the paper; 64 for millions of images")
    margin: float = parameter(
        0.4, low=0, below=1, help="of target and negatives; 0.5 for millions of images"
    )
    alpha: float = parameter(
        0.7,
        above=0,
        below=1,
        help="weight of the target's term; lambda in the paper; 0.8 for millions of images",
    )
    t: float = parameter(3.0, low=1, help="exponent that spreads the similarities")
    lw: float = parameter(50.0, above=0, help="weight of the whole loss")
    gradient: Gradient = parameter("straight_through", help="`straight_through` or `exact`")

    def initial_bias(self, num_classes: int) -> Float:
        """Return the bias [1] at which the loss is smallest while all cosines are 0."""
        z = self.alpha / ((1 - self.alpha) * max(num_classes - 1, 1))
        middle = 2 * 0.5**self.t - 1
        positive, negative = (self.scale * (middle + sign * self.margin) for sign in (-1, 1))
        # u = e^b solves e^positive u^2 + (1 - z) u - z e^-negative = 0; without cancellation:
        root = math.hypot(1 - z, 2 * math.sqrt(z) * math.exp((positive - negative) / 2))
        if z <= 1:
            return np.array([math.log(2 * z) - negative - math.log(1 - z + root)])
        return np.array([math.log(z - 1 + root) - positive - math.log(2)])

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return g(cos(theta)) - margin."""
        return self._spread(cosine, -self.margin)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return g(cos(theta_j)) + margin."""
        return self._spread(cosine, self.margin)

    def _spread(self, cosine: float, margin: float) -> Logit:
        half = (min(max(cosine, -1.0), 1.0) + 1) / 2
        slope = self.t * half ** (self.t - 1) if self.gradient == "exact" else 1.0
        return Logit(2 * half**self.t - 1 + margin, slope)

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        """Return the weighted sum of softplus terms of one sample."""
        weight = self.lw / self.scale
        return softplus_sum(logits, label, weight * self.alpha, weight * (1 - self.alpha))
