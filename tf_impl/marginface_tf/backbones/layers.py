"""The layers of a backbone on channels-last tensors, with PyTorch's semantics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.backbones.graph import BN_EPSILON, BN_MOMENTUM, Conv
from marginface_tf.processes import add_up, gather


def as_tensor(value: Any) -> Any:
    """Return a value as a tensor that has a shape and a type; Keras' symbolic ones stay."""
    return value if isinstance(value, keras.KerasTensor) else tf.convert_to_tensor(value)


def conv(x: Tensor, weight: Tensor, layer: Conv) -> Tensor:
    """Convolve [N, H, W, C], padding every side alike (TensorFlow's "SAME" does not at stride 2).

    Of several ways to say the same, this takes the fastest on a CPU, forward and backward.

    Args:
        x: [N, H, W, in_channels].
        weight: [kernel height, kernel width, in / groups, out], depthwise [..., channels, 1].
        layer: stride, padding and groups.
    """
    p, stride = layer.padding, layer.stride
    if layer.kernel == (1, 1) and stride == 1 and layer.groups == 1 and not p:
        rows = tf.matmul(tf.reshape(x, [-1, layer.in_channels]), weight[0, 0])
        return tf.reshape(rows, [-1, x.shape[1], x.shape[2], layer.out_channels])
    padding = "VALID"
    if p and stride == 1 and layer.kernel == (2 * p + 1, 2 * p + 1):
        padding = "SAME"  # the same zeros; twice as fast as a list of paddings
    elif p:
        x = tf.pad(x, [[0, 0], [p, p], [p, p], [0, 0]])
    strides = [1, stride, stride, 1]
    if layer.depthwise:
        return tf.nn.depthwise_conv2d(x, weight, strides, padding)
    if layer.in_channels == layer.out_channels == 2 * layer.groups:
        return _conv_pairs(x, weight, strides, padding)
    return tf.nn.conv2d(x, weight, strides, padding)


def _conv_pairs(x: Tensor, weight: Tensor, strides: list[int], padding: str) -> Tensor:
    """Groups of two channels as two depthwise convolutions, twice as fast as a grouped one.

    Each channel goes to its own place and, the pairs turned round, to its neighbour's.
    """
    height, width, _, channels = weight.shape
    w = tf.reshape(weight, [height, width, 2, channels // 2, 2])
    own = tf.stack([w[:, :, 0, :, 0], w[:, :, 1, :, 1]], -1)
    other = tf.stack([w[:, :, 0, :, 1], w[:, :, 1, :, 0]], -1)
    own, other = (tf.reshape(each, [height, width, channels, 1]) for each in (own, other))
    y = tf.nn.depthwise_conv2d(x, other, strides, padding)
    pairs = tf.reshape(y, [-1, *y.shape[1:3], channels // 2, 2])
    turned = tf.reshape(tf.reverse(pairs, [-1]), [-1, *y.shape[1:]])
    return tf.nn.depthwise_conv2d(x, own, strides, padding) + turned


@tf.custom_gradient
def prelu(x: Tensor, slope: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return max(x, 0) + slope * min(x, 0), one slope a channel, and its gradient.

    The gradient that TensorFlow would derive takes half as long again.
    """

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        below = tf.where(x > 0, tf.zeros_like(upstream), upstream)
        return upstream + (slope - 1) * below, tf.reduce_sum(below * x, [0, 1, 2])

    return x + (slope - 1) * tf.minimum(x, 0), gradient


def batch_norm(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    synchronized: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise [N, H, W, C] or [N, C]; return it and the running statistics, moved in training.

    The batch's biased variance normalises, its unbiased variance enters the running one. The batch
    is that of all processes where `synchronized`; theirs must be of one size.
    """
    if x.shape.rank == 2:
        y, mean, variance = batch_norm(
            x[:, None, None],
            scale,
            offset,
            running_mean,
            running_var,
            training=training,
            synchronized=synchronized,
        )
        return y[:, 0, 0], mean, variance
    if training and synchronized:
        y, mean, variance = _synchronized(x, scale, offset)
    elif x.dtype == tf.float64:
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


def dropout(x: Tensor, rate: float, seed: Any, share: tuple[int, int]) -> Tensor:
    """Return x without the values that a mask drops.

    Args:
        x: [N, ...].
        rate: the part of them.
        seed: where the masks come from, the same in all processes.
        share: which process of how many this is; it has every `size`-th sample of the whole batch,
            from number `rank` on.
    """
    rank, size = share
    if size == 1:
        return keras.random.dropout(x, rate, seed=seed)
    whole = tf.ones([tf.shape(x)[0] * size, *x.shape[1:]], x.dtype)
    return x * keras.random.dropout(whole, rate, seed=seed)[rank::size]


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


def _synchronized(x: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by all processes' batches; return mean and unbiased variance as well."""
    wide = tf.cast(tf.stop_gradient(x), scale.dtype)
    found = gather(tf.stack(tf.nn.moments(wide, [0, 1, 2]))[None])  # [processes, 2, C]
    mean = tf.reduce_mean(found[:, 0], 0)
    variance = tf.reduce_mean(found[:, 1] + (found[:, 0] - mean) ** 2, 0)
    count = tf.cast(tf.size(x) // tf.size(mean) * tf.shape(found)[0], scale.dtype)
    inverse = tf.math.rsqrt(variance + BN_EPSILON)

    @tf.custom_gradient
    def normalize(x: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        unit = (tf.cast(x, scale.dtype) - mean) * inverse

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            wide = tf.cast(upstream, scale.dtype)
            own = tf.stack([tf.reduce_sum(wide, [0, 1, 2]), tf.reduce_sum(wide * unit, [0, 1, 2])])
            # The statistics are everybody's, and so is what they pass on of the gradient.
            down, along = tf.unstack(add_up(own) / count)
            d_x = (wide - down - unit * along) * (inverse * scale)
            return tf.cast(d_x, x.dtype), own[1], own[0]

        return tf.cast(unit * scale + offset, x.dtype), gradient

    return normalize(x, scale, offset), mean, variance * (count / tf.maximum(count - 1, 1))
