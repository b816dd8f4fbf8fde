"""Li-ArcFace: logits that are linear in the angle."""

import math

from tensorflow import Tensor

from marginface.losses import LiArcFace
from marginface_tf.losses.base import LossOps, Tensors, angle_and_sine, with_slope


class LiArcFaceOps(LossOps[LiArcFace]):
    """logit = scale * (pi - 2 theta) / pi, of the target with theta + margin."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 (theta + margin) / pi."""
        return self._linear(cosines, self.spec.margin)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return 1 - 2 theta_j / pi."""
        return self._linear(cosines, 0.0)

    def _linear(self, cosines: Tensor, margin: float) -> Tensor:
        theta, sine = angle_and_sine(cosines)
        slope = 2 / (math.pi * sine) if self.spec.gradient == "exact" else None
        return with_slope(1 - 2 * (theta + margin) / math.pi, slope, cosines)
