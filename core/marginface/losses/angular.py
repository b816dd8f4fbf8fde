"""The angular losses' common part: cos(m1 theta + m2), its slopes, and the policies past pi."""

from __future__ import annotations

import math

from marginface.losses.base import MarginLoss
from marginface.losses.values import MIN_SINE, Gradient, Logit, PastPi


class AngularLoss(MarginLoss):
    """Base of losses with a margin on the angle: they declare the two choices as parameters."""

    gradient: Gradient
    past_pi: PastPi

    def _angular(
        self, cosine: float, m1: float, m2: float, *, easy_margin: bool = False
    ) -> tuple[Logit, float]:
        """Return cos(m1 theta + m2) by this loss's choices, and its slope to m2."""
        value, slope, margin_slope = angular(
            cosine, m1, m2, past_pi=self.past_pi, easy_margin=easy_margin
        )
        return Logit(value, 1.0 if self.gradient == "straight_through" else slope), margin_slope


def angular(
    cosine: float, m1: float, m2: float, *, past_pi: PastPi, easy_margin: bool = False
) -> tuple[float, float, float]:
    """Return cos(m1 theta + m2) under a past-pi policy, and its slopes to cos(theta) and to m2."""
    if easy_margin and cosine <= 0:
        return cosine, 1.0, 0.0
    theta = math.acos(min(max(cosine, -1.0), 1.0))
    angle = m1 * theta + m2
    factor = m1 / max(math.sin(theta), MIN_SINE)  # - d angle / d cos(theta)
    falls_on = m1 > 1 or past_pi == "mirror"
    turns = math.floor(angle / math.pi) if falls_on else int(angle > math.pi)
    if turns == 0 or past_pi == "none":
        return math.cos(angle), math.sin(angle) * factor, -math.sin(angle)
    if past_pi == "clip":
        return -1.0, 0.0, 0.0
    if falls_on:
        sign = (-1.0) ** turns
        value, slope = sign * math.cos(angle) - 2 * turns, sign * math.sin(angle)
        return value, slope * factor, -slope
    return cosine - m2 * math.sin(m2), 1.0, -math.sin(m2) - m2 * math.cos(m2)
