"""The table of layers in TensorFlow, on channels-last tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.backbones import layers
from marginface.backbones.layers import Layer
from marginface.backbones.layers.cross_covariance import LEAST_NORM
from marginface.backbones.layers.fourier_position import BIAS, WEIGHT
from marginface_tf.backbones.batch_norm import batch_norm
from marginface_tf.backbones.calls import Call
from marginface_tf.backbones.conv import conv


def prelu(layer: layers.PReLU, call: Call, x: Tensor) -> Tensor:
    """Return max(x, 0) + slope * min(x, 0)."""
    return _bend(x, call.value("weight"))


@tf.custom_gradient
def _bend(x: Tensor, slope: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Return max(x, 0) + slope * min(x, 0), one slope a channel, and its gradient.

    The gradient that TensorFlow would derive takes half as long again.
    """

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        below = tf.where(x > 0, tf.zeros_like(upstream), upstream)
        return upstream + (slope - 1) * below, tf.reduce_sum(below * x, range(x.shape.rank - 1))

    return x + (slope - 1) * tf.minimum(x, 0), gradient


def linear(layer: layers.Linear, call: Call, x: Tensor) -> Tensor:
    """Return x W + b on the last axis."""
    y = _multiplied(x, call.value("weight"))
    return y + call.value("bias") if layer.bias else y


def _multiplied(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W on the last axis, as one product of matrices: faster, above all backward."""
    rows = tf.matmul(tf.reshape(x, [-1, weight.shape[0]]), weight)
    return tf.reshape(rows, [-1, *x.shape[1:-1], weight.shape[1]])


def add(layer: layers.Add, call: Call, x: Tensor, y: Tensor) -> Tensor:
    """Return x + y."""
    return x + y


def flatten(layer: layers.Flatten, call: Call, x: Tensor) -> Tensor:
    """Return [N, ...] as [N, values], images channels last."""
    return tf.reshape(x, [-1, x.shape[1:].num_elements()])


def dropout(layer: layers.Dropout, call: Call, x: Tensor) -> Tensor:
    """Drop values in training."""
    if call.noise is None:
        return x
    noise = call.noise
    if len(layer.before) == 3:
        noise = tf.transpose(noise, [0, 2, 3, 1])
    return x * tf.reshape(_kept(noise, layer.rate, x), tf.shape(x))


def layer_norm(layer: layers.LayerNorm, call: Call, x: Tensor) -> Tensor:
    """Normalise along the channels, in float32 at least."""
    wide = _wide(x)
    mean, variance = tf.nn.moments(wide, [-1], keepdims=True)
    scale, offset = (tf.cast(call.value(name), wide.dtype) for name in ("weight", "bias"))
    unit = (wide - mean) * tf.math.rsqrt(variance + layer.epsilon)
    return tf.cast(unit * scale + offset, x.dtype)


def relu6(layer: layers.ReLU6, call: Call, x: Tensor) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return tf.nn.relu6(x)


def tokens(layer: layers.Tokens, call: Call, x: Tensor) -> Tensor:
    """Return [N, H, W, C] as [N, H * W, C]."""
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2], x.shape[3]])


def position(layer: layers.Position, call: Call, x: Tensor) -> Tensor:
    """Return x + array."""
    return x + call.value("")


def attention(layer: layers.Attention, call: Call, x: Tensor) -> Tensor:
    """Let each token look at all, in float32 at least."""
    heads, width = layer.heads, layer.channels // layer.heads
    qkv = _multiplied(x, call.value("qkv.weight"))
    parts = tf.reshape(_wide(qkv), [-1, x.shape[1], 3, heads, width])
    q, k, v = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))  # each [N, heads, L, width]
    shares = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / width**0.5)
    y = tf.transpose(tf.matmul(shares, v), [0, 2, 1, 3])
    y = tf.cast(tf.reshape(y, [-1, *x.shape[1:]]), qkv.dtype)
    return _multiplied(y, call.value("proj.weight")) + call.value("proj.bias")


def drop_path(layer: layers.DropPath, call: Call, x: Tensor) -> Tensor:
    """Drop a branch of some samples in training."""
    if call.noise is None:
        return x
    return x * tf.reshape(_kept(call.noise, layer.rate, x), [-1, *[1] * (x.shape.rank - 1)])


def mask_tokens(layer: layers.MaskTokens, call: Call, x: Tensor) -> Tensor:
    """Take tokens away in training."""
    if call.noise is None:
        return x
    order = tf.argsort(call.noise, 1, stable=True)
    return tf.gather(x, order[:, : layer.left], batch_dims=1)


def restore_tokens(layer: layers.RestoreTokens, call: Call, x: Tensor) -> Tensor:
    """Put tokens back, and the array where there is none."""
    if call.noise is None:
        return x
    places = tf.argsort(tf.argsort(call.noise, 1, stable=True), 1)
    missing = call.noise.shape[1] - x.shape[1]
    token = tf.broadcast_to(tf.cast(call.value(""), x.dtype), [tf.shape(x)[0], missing, x.shape[2]])
    return tf.gather(tf.concat([x, token], 1), places, batch_dims=1)


def subsample(layer: layers.Subsample, call: Call, x: Tensor) -> Tensor:
    """Return every stride-th pixel."""
    return x[:, :: layer.stride, :: layer.stride]


def global_pool(layer: layers.GlobalPool, call: Call, x: Tensor) -> Tensor:
    """Return [N, 1, 1, C]."""
    return tf.reduce_mean(x, [1, 2], keepdims=True)


def relu(layer: layers.ReLU, call: Call, x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return tf.nn.relu(x)


def gelu(layer: layers.GELU, call: Call, x: Tensor) -> Tensor:
    """Return x / 2 (1 + erf(x / sqrt(2)))."""
    return _gelu(x)


@tf.custom_gradient
def _gelu(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return x times the probability that a normal number is below it, and the gradient.

    TensorFlow's own has a constant of float32, and would keep four values for the gradient.
    """
    below = 0.5 * tf.math.erfc(x * -(0.5**0.5))

    def gradient(upstream: Tensor) -> Tensor:
        density = tf.exp(-0.5 * x * x) * (2 * math.pi) ** -0.5
        return upstream * (below + x * density)

    return x * below, gradient


def layer_scale(layer: layers.LayerScale, call: Call, x: Tensor) -> Tensor:
    """Return x * array."""
    return x * call.value("")


def images(layer: layers.Images, call: Call, x: Tensor) -> Tensor:
    """Return [N, H * W, C] as [N, H, W, C]."""
    return tf.reshape(x, [-1, layer.height, layer.width, x.shape[2]])


def channels(layer: layers.Channels, call: Call, x: Tensor) -> Tensor:
    """Return some of the channels."""
    return x[..., layer.start : layer.end]


def concat(layer: layers.Concat, call: Call, *inputs: Tensor) -> Tensor:
    """Return all channels."""
    return tf.concat(inputs, -1)


def fourier_position(layer: layers.FourierPosition, call: Call, x: Tensor) -> Tensor:
    """Return x + W waves + b."""
    waves = tf.constant(layer.waves().transpose(1, 2, 0), call.dtype)
    return x + _multiplied(waves, call.value(WEIGHT)) + call.value(BIAS)


def cross_covariance(layer: layers.CrossCovariance, call: Call, x: Tensor) -> Tensor:
    """Let each channel look at all of its head, in float32 at least."""
    heads, width = layer.heads, layer.channels // layer.heads
    parts = tf.reshape(_wide(x), [-1, x.shape[1], 3, heads, width])
    q, k, v = tf.unstack(tf.transpose(parts, [2, 0, 3, 4, 1]))  # each [N, heads, width, L]
    q, k = (tf.math.l2_normalize(each, -1, LEAST_NORM**2) for each in (q, k))
    temperature = tf.cast(call.value(""), q.dtype)
    shares = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * temperature)
    y = tf.transpose(tf.matmul(shares, v), [0, 3, 1, 2])
    return tf.cast(tf.reshape(y, [-1, x.shape[1], layer.channels]), x.dtype)


def sigmoid(layer: layers.Sigmoid, call: Call, x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return tf.sigmoid(x)


def hard_sigmoid(layer: layers.HardSigmoid, call: Call, x: Tensor) -> Tensor:
    """Return min(max(0.2 x + 0.5, 0), 1)."""
    return tf.clip_by_value(0.2 * x + 0.5, 0, 1)


def multiply(layer: layers.Multiply, call: Call, x: Tensor, y: Tensor) -> Tensor:
    """Return x * y."""
    return x * y


def _wide(x: Tensor) -> Tensor:
    """Return x in float32 at least."""
    return tf.cast(x, keras.backend.result_type(x.dtype.name, "float32"))


def _kept(noise: Tensor, rate: float, x: Tensor) -> Tensor:
    """Return 0 where noise drops a value, elsewhere 1 / (1 - rate)."""
    return tf.cast(noise >= layers.threshold(rate), x.dtype) / (1 - rate)


# Called with the layer, its arrays and noise, and its inputs.
LAYERS: Mapping[type[Layer], Callable[..., Tensor]] = {
    layers.Conv: conv,
    layers.BatchNorm: batch_norm,
    layers.PReLU: prelu,
    layers.Linear: linear,
    layers.Add: add,
    layers.Multiply: multiply,
    layers.Flatten: flatten,
    layers.Dropout: dropout,
    layers.LayerNorm: layer_norm,
    layers.ReLU: relu,
    layers.ReLU6: relu6,
    layers.Sigmoid: sigmoid,
    layers.Subsample: subsample,
    layers.GlobalPool: global_pool,
    layers.Tokens: tokens,
    layers.Position: position,
    layers.Attention: attention,
    layers.DropPath: drop_path,
    layers.MaskTokens: mask_tokens,
    layers.RestoreTokens: restore_tokens,
    layers.HardSigmoid: hard_sigmoid,
    layers.GELU: gelu,
    layers.LayerScale: layer_scale,
    layers.Images: images,
    layers.Channels: channels,
    layers.Concat: concat,
    layers.FourierPosition: fourier_position,
    layers.CrossCovariance: cross_covariance,
}
