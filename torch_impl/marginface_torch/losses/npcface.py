"""NPCFace: hard negatives count more, and the more of them, the larger a sample's own margin."""

import torch
from torch import Tensor

from marginface.losses.npcface import NPCFace
from marginface_torch.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class NPCFaceOps(LossOps[NPCFace]):
    """logit_j = scale * (t cos(theta_j) + a) where cos(theta_j) > cos(theta + threshold_margin)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return, as `threshold`, the cosine above which a negative is hard."""
        return {"threshold": torch.cos(angle(cosines) + self.spec.threshold_margin)}, dict(state)

    def tally(self, cosines: Tensor, prepared: Tensors) -> dict[str, Tensor]:
        """Return 1 and the cosine of hard negatives."""
        hard = cosines > prepared["threshold"][:, None]
        return {"hard": hard, "hard_cosines": cosines * hard}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + m)."""
        c, hard = cosines.detach(), prepared["hard"]
        mean = torch.where(hard > 0, prepared["hard_cosines"] / hard, 0)
        turned = angle(c) + self.spec.m0 + self.spec.m1 * mean
        value = torch.where(c > 0, torch.cos(turned), c)
        slope = torch.where(c > 0, torch.sin(turned) * inverse_sine(c), 1)
        return with_slope(value, slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, of hard negatives t cos + a."""
        hard = cosines > prepared["threshold"][:, None]
        return torch.where(hard, self.spec.t * cosines + self.spec.a, cosines)
