"""SFace: no softmax, but a sigmoid of the angle that says how much a sample still pulls."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import MIN_SINE, Logit, Numbers, Sum, sigmoid


@dataclass(frozen=True, kw_only=True)
class SFace(MarginLoss):
    """SFace (2205.12010): sigmoids of the angle restrain how far each class pulls and pushes.

    loss = sum_j n_j - t
    t = scale * w_y cos(theta), w_y = 1 / (1 + exp(-k (theta - a)))
    n_j = scale * w_j cos(theta_j), w_j = 1 / (1 + exp(k (theta_j - b)))

    A sample is pulled until its angle is below a, and pushed from other classes only within the
    angle b of them. There is no softmax: the loss is a plain sum, and negative where training
    succeeds.

    Of a sample of classes, `partial_fc` adds up the sampled ones alone, which weighs the others
    less against the target; `corrected` keeps the expected sum.

    In the wild:
        - The released code treats the weights as constants: gradient="detached", the default.
          "exact" is the derivative of the formula.
        - Its PyTorch class has a = 0.80 and b = 1.23, the defaults here; its training script for
          CASIA-WebFace has 0.87 and 1.2, as has its MXNet code, which also has two k, both 80.

    >>> round(SFace().target(0.0, 1.0, {}).slope, 6)
    1.0
    """

    name: ClassVar[str] = "sface"
    adds: ClassVar[Sum] = "plain"
    panel: ClassVar[str] = "Weighted by the angle"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    k: float = parameter(80.0, above=0, help="how steep the sigmoids are")
    a: float = parameter(
        0.80, low=0, high=math.pi, unit="radians", help="below this angle a sample stops to pull"
    )
    b: float = parameter(
        1.23, low=0, high=math.pi, unit="radians", help="beyond this angle a class stops to push"
    )
    gradient: Literal["detached", "exact"] = parameter("detached", help="`detached` or `exact`")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return w_y cos(theta)."""
        return self._weighted(cosine, self.k, self.a)

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return w_j cos(theta_j)."""
        return self._weighted(cosine, -self.k, self.b)

    def _weighted(self, cosine: float, steepness: float, center: float) -> Logit:
        theta = math.acos(min(max(cosine, -1.0), 1.0))
        weight = sigmoid(steepness * (theta - center))
        if self.gradient == "detached":
            return Logit(weight * cosine, weight)
        bend = steepness * weight * (1 - weight) * cosine / max(math.sin(theta), MIN_SINE)
        return Logit(weight * cosine, weight - bend)

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        """Return the sum of the other classes' logits, less the target's."""
        signs = [-1.0 if j == label else 1.0 for j in range(len(logits))]
        return sum(sign * z for sign, z in zip(signs, logits, strict=True)), signs
