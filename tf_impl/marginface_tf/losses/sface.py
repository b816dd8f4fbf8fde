"""SFace: no softmax, but a sigmoid of the angle that says how much a sample still pulls."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.sface import SFace
from marginface_tf.losses.base import LossOps, Tensors, angles_to_all, inverse_sine, with_slope


class SFaceOps(LossOps[SFace]):
    """t = scale * w_y cos(theta); n_j = scale * w_j cos(theta_j); loss = sum_j n_j - t."""

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return w_y cos(theta)."""
        return self._weighted(cosines, self.spec.k, self.spec.a)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return w_j cos(theta_j)."""
        return self._weighted(cosines, -self.spec.k, self.spec.b)

    def _weighted(self, cosines: Tensor, steepness: float, center: float) -> Tensor:
        c = tf.stop_gradient(cosines)
        weight = slope = tf.sigmoid(steepness * (angles_to_all(c) - center))
        if self.spec.gradient == "exact":
            slope = weight - steepness * weight * (1 - weight) * c * inverse_sine(c)
        return with_slope(weight * c, slope, cosines)

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return the sum of the other classes' logits, less the target's."""
        return tf.subtract(others, target)
