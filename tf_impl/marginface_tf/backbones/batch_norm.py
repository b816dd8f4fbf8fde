"""BatchNorm with PyTorch's semantics, that can see the batches of several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow import Tensor

from marginface.backbones.layers import BatchNorm
from marginface_tf.backbones.calls import Call
from marginface_tf.processes import add_up, gather


def batch_norm(layer: BatchNorm, call: Call, x: Tensor) -> Tensor:
    """Normalise [N, H, W, C] or [N, C]; in training move the running statistics."""
    running_mean, running_var = call.arrays["running_mean"], call.arrays["running_var"]
    scale, offset = tf.ones_like(running_mean.value), tf.zeros_like(running_mean.value)
    if layer.affine:
        scale, offset = call.arrays["weight"].value, call.arrays["bias"].value
    y, mean, variance = normalize(
        layer,
        x,
        scale,
        offset,
        running_mean.value,
        running_var.value,
        training=call.training,
        synchronized=call.synchronized,
    )
    if call.training and call.moving:
        running_mean.assign(mean)
        running_var.assign(variance)
    return y


def normalize(
    layer: BatchNorm,
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    training: bool,
    synchronized: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised input and the running statistics, moved in training.

    The batch's biased variance normalises, its unbiased variance enters the running one. The batch
    is that of all processes where `synchronized`; theirs must be of one size.
    """
    if x.shape.rank == 2:
        y, mean, variance = normalize(
            layer,
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
        y, mean, variance = _synchronized(x, scale, offset, layer.epsilon)
    elif x.dtype == tf.float64:
        y, mean, variance = _plain(
            x, scale, offset, running_mean, running_var, layer.epsilon, training=training
        )
    else:
        empty = tf.zeros([0], tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=empty if training else running_mean,
            variance=empty if training else running_var,
            epsilon=layer.epsilon,
            is_training=training,
        )
    if not training:
        return y, running_mean, running_var
    momentum = layer.momentum
    return (
        y,
        (1 - momentum) * running_mean + momentum * mean,
        (1 - momentum) * running_var + momentum * variance,
    )


def _plain(
    x: Tensor,
    scale: Tensor,
    offset: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    epsilon: float,
    *,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for float64, which the fused kernel does not take."""
    mean, variance, unbiased = running_mean, running_var, running_var
    if training:
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        count = tf.cast(tf.size(x) // tf.size(mean), x.dtype)
        unbiased = variance * (count / tf.maximum(count - 1, 1))
    y = (x - mean) * (tf.math.rsqrt(variance + epsilon) * scale) + offset
    return y, mean, unbiased


def _synchronized(
    x: Tensor, scale: Tensor, offset: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by all processes' batches; return mean and unbiased variance as well."""
    wide = tf.cast(tf.stop_gradient(x), scale.dtype)
    moments = gather(tf.stack(tf.nn.moments(wide, [0, 1, 2]))[None])  # [processes, 2, C]
    mean = tf.reduce_mean(moments[:, 0], 0)
    variance = tf.reduce_mean(moments[:, 1] + (moments[:, 0] - mean) ** 2, 0)
    count = tf.cast(tf.size(x) // tf.size(mean) * tf.shape(moments)[0], scale.dtype)
    inverse = tf.math.rsqrt(variance + epsilon)

    @tf.custom_gradient
    def normalized(x: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        unit = (tf.cast(x, scale.dtype) - mean) * inverse

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            wide = tf.cast(upstream, scale.dtype)
            own = tf.stack([tf.reduce_sum(wide, [0, 1, 2]), tf.reduce_sum(wide * unit, [0, 1, 2])])
            # The statistics are everybody's, and so is what they pass on of the gradient.
            down, along = tf.unstack(add_up(own) / count)
            d_x = (wide - down - unit * along) * (inverse * scale)
            return tf.cast(d_x, x.dtype), own[1], own[0]

        return tf.cast(unit * scale + offset, x.dtype), gradient

    return normalized(x, scale, offset), mean, variance * (count / tf.maximum(count - 1, 1))
