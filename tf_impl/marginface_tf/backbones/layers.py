"""The table of layers in TensorFlow, on channels-last tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.backbones import layers
from marginface.backbones.layers import Layer
from marginface_tf.backbones.batch_norm import batch_norm
from marginface_tf.backbones.calls import Call
from marginface_tf.backbones.conv import conv


def as_tensor(value: Any) -> Any:
    """Return a value as a tensor that has a shape and a type; Keras' symbolic ones stay."""
    return value if isinstance(value, keras.KerasTensor) else tf.convert_to_tensor(value)


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
    rows = tf.matmul(tf.reshape(x, [-1, layer.in_features]), call.value("weight"))
    if layer.bias:
        rows += call.value("bias")
    return tf.reshape(rows, [-1, *x.shape[1:-1], layer.out_features])


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
    layers.Flatten: flatten,
    layers.Dropout: dropout,
}
