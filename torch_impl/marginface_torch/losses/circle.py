"""Circle loss in its form for classification."""

from torch import Tensor

from marginface.losses.circle import Circle
from marginface_torch.losses.base import LossOps, Tensors, with_slope


class CircleOps(LossOps[Circle]):
    """target logit = scale * a_p (cos - (1 - margin)); logit_j = scale * a_n (cos_j - margin)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return a_p (cos(theta) - (1 - margin))."""
        c, margin = cosines.detach(), self.spec.margin
        weight = (1 + margin - c).clamp(min=0)
        slope = weight if self.spec.gradient == "detached" else (2 - 2 * c) * (weight > 0)
        return with_slope(weight * (c - (1 - margin)), slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return a_n (cos(theta_j) - margin)."""
        c, margin = cosines.detach(), self.spec.margin
        weight = (c + margin).clamp_(min=0)
        slope = weight if self.spec.gradient == "detached" else 2 * c * (weight > 0)
        return with_slope((c - margin).mul_(weight), slope, cosines)
