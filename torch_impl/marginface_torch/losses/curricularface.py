"""CurricularFace: hard negatives count more as training goes on."""

import torch
from torch import Tensor

from marginface.losses.curricularface import CurricularFace
from marginface_torch.losses.angular import AngularOps
from marginface_torch.losses.base import Tensors


class CurricularFaceOps(AngularOps[CurricularFace]):
    """logit_j = scale * cos(theta_j) (t + cos(theta_j)) where cos(theta_j) > cos(theta + m)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return t and, as `threshold`, the cosine above which a negative is hard."""
        alpha = self.spec.alpha
        c = cosines.clamp(-1, 1)
        t = alpha * c.mean() + (1 - alpha) * state["t"]
        threshold = torch.cos(torch.acos(c) + self.spec.margin)
        return {"t": t.expand_as(c), "threshold": threshold}, {"t": t}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + margin)."""
        return self.angular(cosines, 1.0, self.spec.margin)[0]

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, of hard negatives cos (t + cos)."""
        t, threshold = prepared["t"][:, None], prepared["threshold"][:, None]
        return torch.where(cosines > threshold, cosines * (t + cosines), cosines)
