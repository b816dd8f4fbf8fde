"""ArcFace and the combined margin: cos(m1 theta + m2) - m3."""

import math

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import MIN_SINE, ArcFace, CombinedMargin
from marginface_tf.losses.base import LossOps, Tensors, with_slope


class CombinedMarginOps(LossOps[ArcFace | CombinedMargin]):
    """target logit = scale * (cos(m1 theta + m2) - m3)."""

    def target(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return cos(m1 theta + m2) - m3 under the past-pi policy and the gradient mode."""
        del prepared
        m1, m2, m3 = self.spec.m1, self.spec.m2, self.spec.m3
        c = tf.clip_by_value(cosines, -1, 1)
        theta = tf.acos(c)
        angle = m1 * theta + m2
        sine = tf.sqrt((1 - c) * (1 + c))
        factor = m1 / tf.maximum(sine, MIN_SINE)
        value, slope = tf.cos(angle), tf.sin(angle) * factor
        if self.spec.past_pi == "clip":
            past = angle > math.pi
            value = tf.where(past, -tf.ones_like(c), value)
            slope = tf.where(past, tf.zeros_like(c), slope)
        elif self.spec.past_pi == "monotone" and m1 > 1:
            turns = tf.floor(angle / math.pi)
            sign = 1 - 2 * (turns % 2)
            value, slope = sign * value - 2 * turns, sign * slope
        elif self.spec.past_pi == "monotone":
            past = angle > math.pi
            value = tf.where(past, c - m2 * math.sin(m2), value)
            slope = tf.where(past, tf.ones_like(c), slope)
        if self.spec.gradient == "straight_through":
            slope = tf.ones_like(slope)
        return with_slope(value - m3, slope, cosines)
