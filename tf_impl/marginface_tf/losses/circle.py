"""Circle loss in its form for classification."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.circle import Circle
from marginface_tf.losses.base import LossOps, Tensors, with_slope


class CircleOps(LossOps[Circle]):
    """target logit = scale * a_p (cos - (1 - margin)); logit_j = scale * a_n (cos_j - margin)."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return a_p (cos(theta) - (1 - margin))."""
        c, margin = tf.stop_gradient(cosines), self.spec.margin
        weight = tf.maximum(1 + margin - c, 0)
        exact = (2 - 2 * c) * tf.cast(weight > 0, c.dtype)
        slope = weight if self.spec.gradient == "detached" else exact
        return with_slope(weight * (c - (1 - margin)), slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return a_n (cos(theta_j) - margin)."""
        c, margin = tf.stop_gradient(cosines), self.spec.margin
        weight = tf.maximum(c + margin, 0)
        exact = 2 * c * tf.cast(weight > 0, c.dtype)
        slope = weight if self.spec.gradient == "detached" else exact
        return with_slope(weight * (c - margin), slope, cosines)
