"""UniFace: one threshold for all pairs, learned as a bias."""

from torch import Tensor

from marginface.losses import UniFace
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.losses.wide import softplus_sum


class UniFaceOps(LossOps[UniFace]):
    """t = scale * (cos(theta) - margin) + b; n_j = scale * cos(theta_j) + b."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - margin."""
        return cosines - self.spec.margin

    def reduce(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of softplus terms of each sample."""
        if self.spec.clamp:
            limit = self.spec.scale
            target, logits = target.clamp(-limit, limit), logits.clamp(-limit, limit)
        return softplus_sum(target, logits, labels, 1.0, self.spec.negative_weight)
