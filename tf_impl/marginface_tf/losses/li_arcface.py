"""Li-ArcFace: logits that are linear in the angle."""

import math

from tensorflow import Tensor

from marginface.losses.li_arcface import LiArcFace
from marginface_tf.losses.base import LossOps, Tensors, angles_to_all, inverse_sine, with_slope


class LiArcFaceOps(LossOps[LiArcFace]):
    """logit = scale * (pi - 2 theta) / pi, of the target with theta + margin."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 (theta + margin) / pi."""
        return self._linear(cosines, self.spec.margin)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 theta_j / pi."""
        return self._linear(cosines, 0.0)

    def _linear(self, cosines: Tensor, margin: float) -> Tensor:
        exact = self.spec.gradient == "exact"
        slope = inverse_sine(cosines) * (2 / math.pi) if exact else None
        value = (angles_to_all(cosines) + margin) * (-2 / math.pi) + 1
        return with_slope(value, slope, cosines)
