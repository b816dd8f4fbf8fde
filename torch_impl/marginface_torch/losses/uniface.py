"""UniFace: one threshold for all pairs, learned as a bias."""

from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses.uniface import UniFace
from marginface_torch.losses.base import LossOps, Tensors


class UniFaceOps(LossOps[UniFace]):
    """t = scale * (cos(theta) - margin) + b; n_j = scale * cos(theta_j) + b."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - margin."""
        return cosines - self.spec.margin

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return the sum of softplus terms of each sample."""
        return softplus(-target, threshold=40) + self.spec.negative_weight * others
