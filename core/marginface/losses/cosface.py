"""CosFace (AM-Softmax): a margin on the cosine."""

from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import Logit, MarginLoss, Numbers


@dataclass(frozen=True, kw_only=True)
class CosFace(MarginLoss):
    """CosFace (1801.09414, eq. 4): a margin on the cosine; AM-Softmax (1801.05599) is the same.

    target logit = scale * (cos(theta) - margin)

    Args:
        scale: radius of the hypersphere, > 0.
        margin: subtracted from the target cosine, in [0, 2); InsightFace uses 0.40, 0.35 is
            common too.

    >>> CosFace(margin=0.25).target(0.5, 1.0, {}).value
    0.25
    """

    name: ClassVar[str] = "cosface"

    scale: float = 64.0
    margin: float = 0.40

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("margin", 0 <= self.margin < 2, "in [0, 2)")

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - margin."""
        return Logit(cosine - self.margin, 1.0)
