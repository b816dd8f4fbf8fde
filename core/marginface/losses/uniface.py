"""UniFace: one threshold for all pairs, learned as a bias."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marginface.losses.base import Float, Logit, MarginLoss, Numbers, softplus_sum


@dataclass(frozen=True, kw_only=True)
class UniFace(MarginLoss):
    """UniFace (ICCV 2023): a unified threshold that separates targets from all others.

    loss = softplus(-t) + negative_weight * sum_j softplus(n_j)
    t = scale * (cos(theta) - margin) + b
    n_j = scale * cos(theta_j) + b

    The bias b is learned, minus the paper's, and starts at -ln(10 classes).

    In the wild:
        - The released code clamps t and n_j to +-scale, which takes the gradient from the samples
          with the largest loss: clamp=True. The paper does not, nor
          does the default.

    Args:
        scale: > 0.
        margin: subtracted from the target cosine, in [0, 2).
        negative_weight: lambda of the paper, `l` of the code, > 0.
        clamp: as above.

    >>> UniFace(margin=0.25).target(0.5, 1.0, {}).value
    0.25
    """

    name: ClassVar[str] = "uniface"
    binary: ClassVar[bool] = True

    scale: float = 64.0
    margin: float = 0.4
    negative_weight: float = 1.0
    clamp: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("margin", 0 <= self.margin < 2, "in [0, 2)")
        self._require("negative_weight", 0 < self.negative_weight < math.inf, "greater than 0")

    @property
    def logit_limit(self) -> float | None:
        """The scale, where logits are clamped."""
        return self.scale if self.clamp else None

    def initial_bias(self, num_classes: int) -> Float:
        """Return -ln(10 classes), [1]."""
        return np.array([-math.log(10 * num_classes)])

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - margin."""
        return Logit(cosine - self.margin, 1.0)

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        """Return the sum of softplus terms of one sample."""
        limit = math.inf if self.logit_limit is None else self.logit_limit
        kept = [min(max(z, -limit), limit) for z in logits]
        loss, slopes = softplus_sum(kept, label, 1.0, self.negative_weight)
        return loss, [slope * (k == z) for slope, k, z in zip(slopes, kept, logits, strict=True)]
