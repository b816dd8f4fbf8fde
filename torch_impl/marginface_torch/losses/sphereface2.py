"""SphereFace2: one binary question a class."""

from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses.sphereface2 import SphereFace2
from marginface_torch.losses.base import LossOps, Tensors, with_slope


class SphereFace2Ops(LossOps[SphereFace2]):
    """t = scale * (g(cos(theta)) - margin) + b; n_j = scale * (g(cos(theta_j)) + margin) + b."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return g(cos(theta)) - margin."""
        return self._spread(cosines, -self.spec.margin)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return g(cos(theta_j)) + margin."""
        return self._spread(cosines, self.spec.margin)

    def _spread(self, cosines: Tensor, margin: float) -> Tensor:
        half = cosines.detach().clamp(-1, 1).add_(1).div_(2)
        exact = self.spec.gradient == "exact"
        slope = self.spec.t * half ** (self.spec.t - 1) if exact else None
        value = half.pow(self.spec.t).mul_(2).add_(margin - 1)
        return with_slope(value, slope, cosines)

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return the weighted sum of softplus terms of each sample."""
        alpha = self.spec.alpha
        terms = alpha * softplus(-target, threshold=40) + (1 - alpha) * others
        return terms * (self.spec.lw / self.spec.scale)
