"""AdaFace: an angular and an additive margin that follow the norm."""

import math

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses.adaface import NORM_RANGE, STD_OFFSET, AdaFace
from marginface_tf.losses.base import LossOps, Tensors, angle, inverse_sine, with_slope


class AdaFaceOps(LossOps[AdaFace]):
    """target logit = scale * (cos(theta - margin k) - (margin + margin k))."""

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return k as `quality`, and the statistics with this batch in them."""
        spec, std = self.spec, state["std"]
        safe = tf.clip_by_value(norms, *NORM_RANGE)
        batch_mean = tf.reduce_mean(safe)
        mean = spec.t_alpha * batch_mean + (1 - spec.t_alpha) * state["mean"]
        count = tf.cast(tf.size(safe), safe.dtype)
        squares = tf.reduce_sum((safe - batch_mean) ** 2)
        batch_std = tf.sqrt(squares / tf.maximum(count - 1, 1))
        std = tf.where(count > 1, spec.t_alpha * batch_std + (1 - spec.t_alpha) * std, std)
        quality = tf.clip_by_value(spec.h * (safe - mean) / (std + STD_OFFSET), -1, 1)
        return {"quality": quality}, {"mean": mean, "std": std}

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(theta - margin k) - (margin + margin k)."""
        eps = self.spec.eps
        shift = self.spec.margin * prepared["quality"]
        c = tf.stop_gradient(cosines)
        kept = tf.clip_by_value(c, -1 + eps, 1 - eps)
        turned, inside = angle(kept) - shift, tf.abs(c) <= 1 - eps
        if self.spec.past_pi == "clip":
            inside = inside & (turned >= eps) & (turned <= math.pi - eps)
            turned = tf.clip_by_value(turned, eps, math.pi - eps)
        value = tf.cos(turned) - (self.spec.margin + shift)
        exact = self.spec.gradient == "exact"
        slope = tf.sin(turned) * inverse_sine(kept) * tf.cast(inside, c.dtype) if exact else None
        return with_slope(value, slope, cosines)

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return the cosines, kept in +-(1 - eps)."""
        limit = 1 - self.spec.eps
        return tf.clip_by_value(cosines, -limit, limit)
