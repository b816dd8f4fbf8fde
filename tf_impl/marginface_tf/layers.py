"""The layers of a backbone on channels-last tensors, with PyTorch's semantics."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import Tensor

from marginface.backbones.graph import BN_EPSILON, BN_MOMENTUM, Conv


def conv(x: Tensor, weight: Tensor, layer: Conv) -> Tensor:
    """Convolve [N, H, W, C], padding every side alike (TensorFlow's "SAME" does not at stride 2).

    Args:
        x: [N, H, W, in_channels].
        weight: [kernel height, kernel width, in / groups, out], depthwise [..., channels, 1].
        layer: stride, padding and groups.
    """
    p = layer.padding
    padding = [[0, 0], [p, p], [p, p], [0, 0]] if p else "VALID"
    strides = [1, layer.stride, layer.stride, 1]
    if layer.depthwise:
        return tf.nn.depthwise_conv2d(x, weight, strides, padding)
    return tf.nn.conv2d(x, weight, strides, padding)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return max(x, 0) + slope * min(x, 0), one slope a channel."""
    return tf.nn.relu(x) + slope * tf.minimum(x, 0)


def batch_norm(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise [N, H, W, C] or [N, C]; return it and the running statistics, moved in training.

    The batch's biased variance normalises, its unbiased variance enters the running one.
    """
    if x.shape.rank == 2:
        y, mean, variance = batch_norm(
            x[:, None, None], scale, offset, running_mean, running_var, training=training
        )
        return y[:, 0, 0], mean, variance
    if x.dtype == tf.float64:
        y, mean, variance = _plain(x, scale, offset, running_mean, running_var, training)
    else:
        empty = tf.zeros([0], tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=empty if training else running_mean,
            variance=empty if training else running_var,
            epsilon=BN_EPSILON,
            is_training=training,
        )
    if not training:
        return y, running_mean, running_var
    return (
        y,
        (1 - BN_MOMENTUM) * running_mean + BN_MOMENTUM * mean,
        (1 - BN_MOMENTUM) * running_var + BN_MOMENTUM * variance,
    )


def _plain(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for float64, which the fused kernel does not take."""
    mean, variance, unbiased = running_mean, running_var, running_var
    if training:
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        count = tf.cast(tf.size(x) // tf.size(mean), x.dtype)
        unbiased = variance * (count / tf.maximum(count - 1, 1))
    y = (x - mean) * (tf.math.rsqrt(variance + BN_EPSILON) * scale) + offset
    return y, mean, unbiased
