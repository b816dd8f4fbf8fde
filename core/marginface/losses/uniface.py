"""UniFace: one threshold for all pairs, learned as a bias."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.values import Float, Logit, Numbers, Sum, softplus_sum


@dataclass(frozen=True, kw_only=True)
class UniFace(MarginLoss):
    """UniFace (ICCV 2023): a unified threshold that separates targets from all others.

    loss = softplus(-t) + negative_weight * sum_j softplus(n_j)
    t = scale * (cos(theta) - margin) + b
    n_j = scale * cos(theta_j) + b

    The bias b is learned and starts at -ln(10 classes). It is the negative of the paper's.

    In the wild:
        - The released code clamps t and n_j to +-scale, so the samples with the largest loss have
          no gradient: clamp=True. The paper does not clamp, nor does the default.

    >>> UniFace(margin=0.25).target(0.5, 1.0, {}).value
    0.25
    """

    name: ClassVar[str] = "uniface"
    adds: ClassVar[Sum] = "softplus"
    panel: ClassVar[str] = "Binary"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere")
    margin: float = parameter(0.4, low=0, below=2, help="subtracted from the target cosine")
    negative_weight: float = parameter(1.0, above=0, help="lambda of the paper, `l` of the code")
    clamp: bool = parameter(False, help="whether logits stay in +-scale, as in the released code")

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
        clamped = [min(max(z, -limit), limit) for z in logits]
        loss, slopes = softplus_sum(clamped, label, 1.0, self.negative_weight)
        return loss, [slope * (k == z) for slope, k, z in zip(slopes, clamped, logits, strict=True)]
