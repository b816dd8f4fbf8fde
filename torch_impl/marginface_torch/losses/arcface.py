"""ArcFace and the combined margin: cos(m1 theta + m2) - m3."""

import math

import torch
from torch import Tensor

from marginface.losses import MIN_SINE, ArcFace, CombinedMargin
from marginface_torch.losses.base import LossOps, Tensors, with_slope


class CombinedMarginOps(LossOps[ArcFace | CombinedMargin]):
    """target logit = scale * (cos(m1 theta + m2) - m3)."""

    def target(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(m1 theta + m2) - m3 under the past-pi policy and the gradient mode."""
        del prepared
        m1, m2, m3 = self.spec.m1, self.spec.m2, self.spec.m3
        c = cosines.detach().clamp(-1, 1)
        theta = torch.acos(c)
        angle = m1 * theta + m2
        sine = ((1 - c) * (1 + c)).sqrt()
        factor = m1 / sine.clamp(min=MIN_SINE)
        value, slope = torch.cos(angle), torch.sin(angle) * factor
        if self.spec.past_pi == "clip":
            past = angle > math.pi
            value, slope = torch.where(past, -1, value), torch.where(past, 0, slope)
        elif self.spec.past_pi == "monotone" and m1 > 1:
            turns = torch.floor(angle / math.pi)
            sign = 1 - 2 * (turns % 2)
            value, slope = sign * value - 2 * turns, sign * slope
        elif self.spec.past_pi == "monotone":
            past = angle > math.pi
            value = torch.where(past, c - m2 * math.sin(m2), value)
            slope = torch.where(past, 1, slope)
        if self.spec.gradient == "straight_through":
            slope = torch.ones_like(slope)
        return with_slope(value - m3, slope, cosines)
