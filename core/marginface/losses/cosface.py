"""CosFace (AM-Softmax): a margin on the cosine."""

from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Logit, Numbers


@dataclass(frozen=True, kw_only=True)
class CosFace(MarginLoss):
    """CosFace (1801.09414, eq. 4): a margin on the cosine; AM-Softmax (1801.05599) is the same.

    target logit = scale * (cos(theta) - margin)

    >>> CosFace(margin=0.25).target(0.5, 1.0, {}).value
    0.25
    """

    name: ClassVar[str] = "cosface"
    panel: ClassVar[str] = "Additive margins"
    shows_boundary: ClassVar[bool] = True

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(
        0.40,
        low=0,
        below=2,
        help="subtracted from the target cosine; InsightFace uses 0.40, and 0.35 is common, too",
    )

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - margin."""
        return Logit(cosine - self.margin, 1.0)
