"""MV-Softmax: negatives that beat the target, margin included, count more."""

import torch
from torch import Tensor

from marginface.losses.mv_softmax import MVSoftmaxAM, MVSoftmaxArc
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import LossOps, Tensors


class MVSoftmaxAMOps(LossOps[MVSoftmaxAM]):
    """target logit = scale * (cos - margin); logit_j = scale * (t cos_j + t - 1) of hard ones."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return `threshold`, the cosine above which a negative is hard."""
        return {"threshold": cosines.clamp(-1, 1) - self.spec.margin}, {}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, less the margin where it is kept."""
        return torch.where(cosines > self.spec.lowest, cosines - self.spec.margin, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, of hard negatives t cos + t - 1."""
        return _pushed(cosines, self.spec.t, prepared)


class MVSoftmaxArcOps(AngularOps[MVSoftmaxArc]):
    """target logit = scale * cos(theta + m); logit_j = scale * (t cos_j + t - 1) of hard ones."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return `threshold`, the cosine above which a negative is hard."""
        theta = torch.acos(cosines.clamp(-1, 1))
        return {"threshold": torch.cos(theta + self.spec.margin)}, {}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + margin)."""
        return self.angular(cosines, 1.0, self.spec.margin, easy_margin=self.spec.easy_margin)[0]

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, of hard negatives t cos + t - 1."""
        return _pushed(cosines, self.spec.t, prepared)


def _pushed(cosines: Tensor, t: float, prepared: Tensors) -> Tensor:
    """Return negatives' cosines, t cos + t - 1 above the threshold."""
    hard = cosines > prepared["threshold"][:, None]
    return torch.where(hard, t * cosines + (t - 1), cosines)
