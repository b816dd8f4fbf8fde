"""AdaptiveFace: a learned margin for each class."""

from torch import Tensor

from marginface.losses.adaptiveface import AdaptiveFace
from marginface_torch.losses.base import LossOps, Tensors


class AdaptiveFaceOps(LossOps[AdaptiveFace]):
    """target logit = scale * (cos(theta) - m_y); the head takes care of the margins' pull."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta) - the class's margin."""
        return cosines - prepared["margin"]
