"""X2-Softmax: a target logit that falls with the square of the angle."""

import math

from torch import Tensor

from marginface.losses.x2_softmax import MIN_ANGLE, X2Softmax
from marginface_torch.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class X2SoftmaxOps(LossOps[X2Softmax]):
    """target logit = scale * (a (theta - h)^2 + k)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return a (theta - h)^2 + k."""
        spec, theta = self.spec, angle(cosines)
        near = theta.clamp(MIN_ANGLE, math.pi - MIN_ANGLE)
        exact = spec.gradient == "exact"
        slope = -2 * spec.a * (near - spec.h) * inverse_sine(cosines) if exact else None
        return with_slope(spec.a * (theta - spec.h) ** 2 + spec.k, slope, cosines)
