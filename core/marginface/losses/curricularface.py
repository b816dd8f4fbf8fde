"""CurricularFace: hard negatives count more as training goes on."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from marginface.losses.angular import AngularLoss
from marginface.losses.base import Curve
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Arrays, Float, Gradient, Logit, Numbers, PastPi


@dataclass(frozen=True, kw_only=True)
class CurricularFace(AngularLoss):
    """CurricularFace (2004.00288): ArcFace that weights hard negatives by a running mean t.

    target logit = scale * cos(theta + margin)
    logit_j = scale * cos(theta_j)                        where cos(theta_j) <= cos(theta + margin)
    logit_j = scale * cos(theta_j) (t + cos(theta_j))     for the others, the hard ones
    t = alpha mean(cos(theta)) + (1 - alpha) t

    t is the loss's state. It starts at 0, and each batch enters it before it is used.

    In the wild:
        - The paper's "alpha = 0.99" is the momentum. The code gives the new batch a weight of
          0.01, which is this alpha.
        - The code also updates t in evaluation; here it changes only in training.
        - Keras_insightface has past_pi="mirror", and takes that logit for the threshold of hard
          negatives, too; here it is always cos(theta + margin), as in the authors' code.

    >>> CurricularFace().negative(0.5, {"t": 0.1, "threshold": 0.4}).value
    0.3
    """

    name: ClassVar[str] = "curricularface"
    panel: ClassVar[str] = "Hard negatives"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.5, low=0, below=math.pi, unit="radians", help="added to the target angle"
    )
    alpha: float = parameter(0.01, above=0, high=1, help="weight of a new batch in t")
    gradient: Gradient = parameter(
        "exact", help="of the target: `exact`, or `straight_through`, d target / d cos = scale"
    )
    past_pi: PastPi = parameter(
        "monotone",
        help="`monotone`, cos(theta) - margin sin(margin), is the authors' code, `none` the "
        "paper's formula; `mirror` is -2 - cos(theta + margin), `clip` stops at pi",
    )

    @classmethod
    def curves(cls) -> list[Curve]:
        """Return the target, and hard negatives as training goes on."""
        loss = cls()
        hard = {f", hard, t = {t:g}": {"t": t, "threshold": -2.0} for t in (0.0, 0.3, 0.6)}
        return [Curve(loss), *(Curve(loss, text, 1.0, at, True) for text, at in hard.items())]

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
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
