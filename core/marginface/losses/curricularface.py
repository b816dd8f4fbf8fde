"""CurricularFace: hard negatives count more as training goes on."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Arrays, Float, Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class CurricularFace(AngularLoss):
    """CurricularFace (2004.00288): ArcFace that weighs hard negatives by a running mean t.

    target logit = scale * cos(theta + margin)
    logit_j = scale * cos(theta_j)                        where cos(theta_j) <= cos(theta + margin)
    logit_j = scale * cos(theta_j) (t + cos(theta_j))     for the others, the hard ones
    t = alpha mean(cos(theta)) + (1 - alpha) t

    t is the loss's state, starts at 0 and takes in a batch before it is used.

    In the wild:
        - The paper says "alpha = 0.99" of the momentum; the code gives the new batch 0.01, and so
          does this alpha.
        - The code updates t in evaluation as well; here only in training.

    Args:
        scale: radius of the hypersphere, > 0.
        margin: added to the target angle, radians, in [0, pi).
        alpha: weight of a new batch in t, in (0, 1].
        gradient: of the target: "exact", or "straight_through", d target / d cos = scale.
        past_pi: "monotone", cos(theta) - margin sin(margin), is the authors' code; or "clip", or
            "none", the paper's formula.

    >>> CurricularFace().negative(0.5, {"t": 0.1, "threshold": 0.4}).value
    0.3
    """

    name: ClassVar[str] = "curricularface"

    scale: float = 64.0
    margin: float = 0.5
    alpha: float = 0.01
    gradient: Gradient = "exact"
    past_pi: PastPi = "monotone"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("margin", 0 <= self.margin < math.pi, "in [0, pi) radians")
        self._require("alpha", 0 < self.alpha <= 1, "in (0, 1]")

    def initial_state(self) -> dict[str, NDArray[Any]]:
        """Return t, 0."""
        return {"t": np.array(0.0)}

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Return t and, as `threshold`, the cosine above which a negative is hard."""
        t = self.alpha * cosines.mean() + (1 - self.alpha) * state["t"]
        threshold = [math.cos(math.acos(c) + self.margin) for c in cosines]
        return {"t": np.full(len(cosines), t), "threshold": np.array(threshold)}, {"t": np.array(t)}

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta + margin)."""
        return self._angular(cosine, 1.0, self.margin)[0]

    def negative(self, cosine: float, prepared: Numbers) -> Logit:
        """Return the cosine, or cos (t + cos) of a hard negative."""
        if cosine <= prepared["threshold"]:
            return Logit(cosine, 1.0)
        return Logit(cosine * (prepared["t"] + cosine), prepared["t"] + 2 * cosine)
