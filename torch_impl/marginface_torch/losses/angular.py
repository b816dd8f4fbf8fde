"""cos(m1 theta + m2), its slopes, and what may happen past pi: what the angular losses share."""

import math
from typing import TypeVar

import torch
from torch import Tensor

from marginface.losses import AngularLoss
from marginface_torch.losses.base import LossOps, angle, inverse_sine, with_slope

Angular = TypeVar("Angular", bound=AngularLoss)


class AngularOps(LossOps[Angular]):
    """Base of losses with a margin on the angle."""

    def angular(
        self, cosines: Tensor, m1: float, m2: float | Tensor, *, easy_margin: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return cos(m1 theta + m2) as the loss's choices have it, and its slope to m2."""
        c = cosines.detach()
        shift = torch.as_tensor(m2, dtype=c.dtype, device=c.device).detach()
        turned = m1 * angle(c) + shift
        value, fall = torch.cos(turned), torch.sin(turned)
        slope, margin_slope = fall * m1 * inverse_sine(c), -fall
        if self.spec.past_pi == "clip":
            past = turned > math.pi
            value, slope = torch.where(past, -1, value), torch.where(past, 0, slope)
            margin_slope = torch.where(past, 0, margin_slope)
        elif self.spec.past_pi == "mirror" or (self.spec.past_pi == "monotone" and m1 > 1):
            turns = torch.floor(turned / math.pi)
            sign = 1 - 2 * (turns % 2)
            value, slope, margin_slope = sign * value - 2 * turns, sign * slope, sign * margin_slope
        elif self.spec.past_pi == "monotone":
            past = turned > math.pi
            value = torch.where(past, c - shift * torch.sin(shift), value)
            slope = torch.where(past, 1, slope)
            down = -torch.sin(shift) - shift * torch.cos(shift)
            margin_slope = torch.where(past, down, margin_slope)
        if easy_margin:
            value, slope = torch.where(c > 0, value, c), torch.where(c > 0, slope, 1)
            margin_slope = torch.where(c > 0, margin_slope, 0)
        if self.spec.gradient == "straight_through":
            slope = torch.ones_like(slope)
        return with_slope(value, slope, cosines), margin_slope
