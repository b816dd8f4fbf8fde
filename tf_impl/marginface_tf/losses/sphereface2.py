"""SphereFace2: one binary question a class."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.sphereface2 import SphereFace2
from marginface_tf.losses.base import LossOps, Tensors, with_slope


class SphereFace2Ops(LossOps[SphereFace2]):
    """t = scale * (g(cos(theta)) - margin) + b; n_j = scale * (g(cos(theta_j)) + margin) + b."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return g(cos(theta)) - margin."""
        return self._spread(cosines, -self.spec.margin)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return g(cos(theta_j)) + margin."""
        return self._spread(cosines, self.spec.margin)

    def _spread(self, cosines: Tensor, margin: float) -> Tensor:
        half = (tf.clip_by_value(tf.stop_gradient(cosines), -1, 1) + 1) / 2
        exact = self.spec.gradient == "exact"
        slope = self.spec.t * half ** (self.spec.t - 1) if exact else None
        return with_slope(2 * half**self.spec.t - 1 + margin, slope, cosines)

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return the weighted sum of softplus terms of each sample."""
        alpha = self.spec.alpha
        terms = alpha * tf.nn.softplus(-target) + (1 - alpha) * others
        return terms * (self.spec.lw / self.spec.scale)
