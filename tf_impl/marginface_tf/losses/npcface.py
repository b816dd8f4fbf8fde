"""NPCFace: hard negatives count more, and the more of them, the larger a sample's own margin."""

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.npcface import NPCFace
from marginface_tf.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class NPCFaceOps(LossOps[NPCFace]):
    """logit_j = scale * (t cos(theta_j) + a) where cos(theta_j) > cos(theta + threshold_margin)."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return, as `threshold`, the cosine above which a negative is hard."""
        return {"threshold": tf.cos(angle(cosines) + self.spec.threshold_margin)}, dict(state)

    def tally(self, cosines: Tensor, prepared: Tensors) -> dict[str, Tensor]:
        """Return 1 and the cosine of hard negatives."""
        hard = tf.cast(cosines > prepared["threshold"][:, None], cosines.dtype)
        return {"hard": hard, "hard_cosines": cosines * hard}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta + m)."""
        c = tf.stop_gradient(cosines)
        mean = tf.math.divide_no_nan(prepared["hard_cosines"], prepared["hard"])
        turned = angle(c) + self.spec.m0 + self.spec.m1 * mean
        value = tf.where(c > 0, tf.cos(turned), c)
        slope = tf.where(c > 0, tf.sin(turned) * inverse_sine(c), tf.ones_like(c))
        return with_slope(value, slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, of hard negatives t cos + a."""
        hard = cosines > prepared["threshold"][:, None]
        return tf.where(hard, self.spec.t * cosines + self.spec.a, cosines)
