"""Half precision in a head: rounded factors of matrix products, and weights rounded at random."""

from __future__ import annotations

import math

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Precision


def rounded(values: Tensor, precision: Precision, axis: int | None = None) -> Tensor:
    """Return a factor of a matrix product rounded to half precision, in its own type.

    So sums stay wide. The exponents of float16 do not reach far: the values are divided by a power
    of two that brings the largest of them, of all or along an axis, into [1, 2); 24 binary places
    are left below that. Powers of two are exact.
    """
    if precision == "full":
        return values
    if precision == "bfloat16":
        return tf.cast(tf.cast(values, tf.bfloat16), values.dtype)
    highest = tf.reduce_max(tf.abs(values), axis, keepdims=True)
    highest = tf.where(highest > 0, highest, tf.ones_like(highest))
    scale = 2 ** tf.math.floor(tf.math.log(highest) / math.log(2))
    return tf.cast(tf.cast(values / scale, tf.float16), values.dtype) * scale


def stochastic_round(values: Tensor, dtype: tf.DType) -> Tensor:
    """Convert values to another type; float32 to bfloat16 up or down at random, right on average.

    Rounding to the nearest would lose every step below 1/512 of a weight.
    """
    if dtype != tf.bfloat16 or values.dtype != tf.float32:
        return tf.cast(values, dtype)
    bits = tf.bitcast(values, tf.int32)  # bfloat16 is the upper half of these bits
    bits += tf.random.uniform(tf.shape(bits), 0, 2**16, tf.int32)
    upper = tf.bitwise.bitwise_and(bits, -(2**16))
    return tf.cast(tf.bitcast(upper, tf.float32), dtype)
