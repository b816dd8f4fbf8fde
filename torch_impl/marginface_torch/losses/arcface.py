"""ArcFace, sub-center ArcFace and the combined margin: cos(m1 theta + m2) - m3."""

from torch import Tensor

from marginface.losses.arcface import ArcFace, CombinedMargin
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import Tensors


class CombinedMarginOps(AngularOps[CombinedMargin]):
    """target logit = scale * (cos(m1 theta + m2) - m3)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(m1 theta + m2) - m3."""
        return self.angular(cosines, self.spec.m1, self.spec.m2)[0] - self.spec.m3


class ArcFaceOps(AngularOps[ArcFace]):
    """target logit = scale * cos(theta + margin); the head takes care of sub-centres."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + margin)."""
        return self.angular(cosines, 1.0, self.spec.margin, easy_margin=self.spec.easy_margin)[0]
