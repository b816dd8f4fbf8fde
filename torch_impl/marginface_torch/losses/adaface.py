"""AdaFace: an angular and an additive margin that follow the norm."""

import math

import torch
from torch import Tensor

from marginface.losses.adaface import NORM_RANGE, STD_OFFSET, AdaFace
from marginface_torch.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class AdaFaceOps(LossOps[AdaFace]):
    """target logit = scale * (cos(theta - margin k) - (margin + margin k))."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return k as `quality`, and the statistics with this batch in them."""
        spec, std = self.spec, state["std"]
        safe = norms.clamp(*NORM_RANGE)
        mean = spec.t_alpha * safe.mean() + (1 - spec.t_alpha) * state["mean"]
        if len(safe) > 1:
            std = spec.t_alpha * safe.std() + (1 - spec.t_alpha) * std
        quality = (spec.h * (safe - mean) / (std + STD_OFFSET)).clamp(-1, 1)
        return {"quality": quality}, {"mean": mean, "std": std}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta - margin k) - (margin + margin k)."""
        eps = self.spec.eps
        shift = self.spec.margin * prepared["quality"]
        c = cosines.detach()
        kept = c.clamp(-1 + eps, 1 - eps)
        turned, inside = angle(kept) - shift, c.abs() <= 1 - eps
        if self.spec.past_pi == "clip":
            inside = inside & (turned >= eps) & (turned <= math.pi - eps)
            turned = turned.clamp(eps, math.pi - eps)
        value = torch.cos(turned) - (self.spec.margin + shift)
        exact = self.spec.gradient == "exact"
        slope = torch.sin(turned) * inverse_sine(kept) * inside if exact else None
        return with_slope(value, slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, kept in +-(1 - eps)."""
        limit = 1 - self.spec.eps
        return cosines.clamp(-limit, limit)
