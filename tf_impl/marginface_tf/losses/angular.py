"""cos(m1 theta + m2), its slopes, and what may happen past pi: what the angular losses share."""

import math
from typing import TypeVar

import tensorflow as tf
from tensorflow import Tensor

from marginface.losses import AngularLoss
from marginface_tf.losses.base import LossOps, angle, inverse_sine, with_slope

Angular = TypeVar("Angular", bound=AngularLoss)


class AngularOps(LossOps[Angular]):
    """Base of losses with a margin on the angle."""

    def angular(
        self, cosines: Tensor, m1: float, m2: float | Tensor, *, easy_margin: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return cos(m1 theta + m2) as the loss's choices have it, and its slope to m2."""
        c = tf.stop_gradient(cosines)
        shift = tf.stop_gradient(tf.convert_to_tensor(m2, c.dtype))
        turned = m1 * angle(c) + shift
        value, fall = tf.cos(turned), tf.sin(turned)
        slope, margin_slope = fall * m1 * inverse_sine(c), -fall
        zeros, ones = tf.zeros_like(c), tf.ones_like(c)
        if self.spec.past_pi == "clip":
            past = turned > math.pi
            value, slope = tf.where(past, -ones, value), tf.where(past, zeros, slope)
            margin_slope = tf.where(past, zeros, margin_slope)
        elif self.spec.past_pi == "mirror" or (self.spec.past_pi == "monotone" and m1 > 1):
            turns = tf.floor(turned / math.pi)
            sign = 1 - 2 * (turns % 2)
            value, slope, margin_slope = sign * value - 2 * turns, sign * slope, sign * margin_slope
        elif self.spec.past_pi == "monotone":
            past = turned > math.pi
            value = tf.where(past, c - shift * tf.sin(shift), value)
            slope = tf.where(past, ones, slope)
            down = -tf.sin(shift) - shift * tf.cos(shift)
            margin_slope = tf.where(past, down, margin_slope)
        if easy_margin:
            value, slope = tf.where(c > 0, value, c), tf.where(c > 0, slope, ones)
            margin_slope = tf.where(c > 0, margin_slope, zeros)
        if self.spec.gradient == "straight_through":
            slope = ones
        return with_slope(value, slope, cosines), margin_slope
