"""CosFace: cos(theta) - margin."""

from torch import Tensor

from marginface.losses.cosface import CosFace
from marginface_torch.losses.base import LossOps, Tensors


class CosFaceOps(LossOps[CosFace]):
    """target logit = scale * (cos(theta) - margin)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - margin."""
        return cosines - self.spec.margin
