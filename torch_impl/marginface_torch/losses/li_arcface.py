"""Li-ArcFace: logits that are linear in the angle."""

import math

from torch import Tensor

from marginface.losses.li_arcface import LiArcFace
from marginface_torch.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class LiArcFaceOps(LossOps[LiArcFace]):
    """logit = scale * (pi - 2 theta) / pi, of the target with theta + margin."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 (theta + margin) / pi."""
        return self._linear(cosines, self.spec.margin)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 theta_j / pi."""
        return self._linear(cosines, 0.0)

    def _linear(self, cosines: Tensor, margin: float) -> Tensor:
        exact = self.spec.gradient == "exact"
        slope = inverse_sine(cosines).mul_(2 / math.pi) if exact else None
        value = angle(cosines).add_(margin).mul_(-2 / math.pi).add_(1)
        return with_slope(value, slope, cosines)
