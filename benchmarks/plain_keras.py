"""The model and loop that people write in Keras: its own layers, NHWC, tf.function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from marginface import backbones
from marginface.backbones import graph as g


class GroupedConv2D(keras.layers.Conv2D):
    """Keras' own grouped convolution, 44 s a step of mbf on a CPU, by TensorFlow's kernel."""

    def call(self, inputs: Any) -> Any:
        """Return the convolution of [N, H, W, C]."""
        return tf.nn.conv2d(inputs, self.kernel, self.strides, self.padding.upper())


class Scale(keras.layers.Layer):
    """A factor for each channel."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start

    def build(self, shape: Any) -> None:
        """Make the factors."""
        self.factors = self.add_weight(
            shape=shape[-1:], initializer=keras.initializers.Constant(self.start)
        )

    def call(self, inputs: Any) -> Any:
        """Multiply."""
        return inputs * self.factors


class Waves(keras.layers.Layer):
    """Waves of row and column through a dense layer, added to images."""

    def __init__(self, waves: np.ndarray, channels: int) -> None:
        super().__init__()
        self.waves = keras.ops.convert_to_tensor(waves.transpose(1, 2, 0), "float32")
        self.dense = keras.layers.Dense(channels)
        self.dense.build(self.waves.shape)

    def call(self, inputs: Any) -> Any:
        """Add."""
        return inputs + self.dense(self.waves)


class CrossCovariance(keras.layers.Layer):
    """Attention among channels, of [N, L, q and k and v]."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = self.add_weight(shape=(heads, 1, 1), initializer="ones")

    def call(self, inputs: Any) -> Any:
        """Attend."""
        length, width = inputs.shape[1:]
        parts = keras.ops.reshape(inputs, (-1, length, 3, self.heads, width // 3 // self.heads))
        q, k, v = keras.ops.unstack(keras.ops.transpose(parts, (2, 0, 3, 4, 1)), 3)
        q, k = (keras.ops.normalize(each, axis=-1) for each in (q, k))
        shares = keras.ops.softmax(q @ keras.ops.swapaxes(k, 2, 3) * self.temperature)
        mixed = keras.ops.transpose(shares @ v, (0, 3, 1, 2))
        return keras.ops.reshape(mixed, (-1, length, width // 3))


class Attention(keras.layers.Layer):
    """All tokens look at all others, products and softmax written out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, channels // heads
        self.qkv = keras.layers.Dense(3 * channels, use_bias=False)
        self.proj = keras.layers.Dense(channels)

    def call(self, inputs: Any) -> Any:
        """Attend."""
        length = inputs.shape[1]
        parts = keras.ops.reshape(self.qkv(inputs), (-1, length, 3, self.heads, self.width))
        q, k, v = keras.ops.unstack(keras.ops.transpose(parts, (2, 0, 3, 1, 4)), 3)
        shares = keras.ops.softmax(q @ keras.ops.swapaxes(k, 2, 3) * self.width**-0.5)
        mixed = keras.ops.transpose(shares @ v, (0, 2, 1, 3))
        return self.proj(keras.ops.reshape(mixed, (-1, length, self.heads * self.width)))


class Position(keras.layers.Layer):
    """Adds an array."""

    def build(self, shape: Any) -> None:
        """Make the array."""
        self.array = self.add_weight(shape=(1, *shape[1:]))

    def call(self, inputs: Any) -> Any:
        """Add."""
        return inputs + self.array


class Mask(keras.layers.Layer):
    """Leaves out tokens in training; returns where the others were, too."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Leave out."""
        length = inputs.shape[1]
        if not training:
            return inputs, tf.zeros((tf.shape(inputs)[0], length), tf.int32)
        order = tf.argsort(tf.random.uniform((tf.shape(inputs)[0], length)), 1)
        return tf.gather(inputs, order[:, : self.left], batch_dims=1), tf.argsort(order, 1)


class Restore(keras.layers.Layer):
    """Puts a token in the places of those that were left out."""

    def build(self, shapes: Any) -> None:
        """Make the token."""
        self.token = self.add_weight(shape=(1, 1, shapes[0][-1]))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Restore."""
        x, places = inputs
        if not training:
            return x
        missing = tf.shape(places)[1] - tf.shape(x)[1]
        token = tf.broadcast_to(self.token, (tf.shape(x)[0], missing, x.shape[2]))
        return tf.gather(tf.concat([x, token], 1), places, batch_dims=1)


def hard_sigmoid(x: Any) -> Any:
    """Return Keras 2's."""
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


def plain_model(graph: g.Graph, weights: dict[str, np.ndarray]) -> Any:
    """Return the backbone as a functional Keras model of Keras' own layers, with `weights`."""
    images = keras.Input((*graph.input_size, 3))
    values: dict[int, Any] = {g.IMAGES: images}
    arrays = {
        name: layout.to_framework(weights[name])
        for name, layout in backbones.layouts(graph, "tf").items()
    }
    for position, (layer, inputs, *_) in enumerate(graph.nodes):
        x = [values[source] for source in inputs]
        match layer:
            case g.Conv():
                # "same" pads as the network asks for at stride 1 only
                same = layer.padding == "same" or (layer.stride == 1 and layer.padding > 0)
                pads = layer.padding and not same
                padded = keras.layers.ZeroPadding2D(layer.padding)(x[0]) if pads else x[0]
                options = {"padding": "same" if same else "valid", "use_bias": layer.bias}
                size = (layer.kernel, layer.stride)
                if layer.depthwise:
                    built = keras.layers.DepthwiseConv2D(*size, **options)
                else:
                    kind = keras.layers.Conv2D if layer.groups == 1 else GroupedConv2D
                    built = kind(layer.out_channels, *size, groups=layer.groups, **options)
                values[position] = built(padded)
                names = ("weight", "bias") if layer.bias else ("weight",)
                built.set_weights([arrays[f"{layer.name}.{name}"] for name in names])
            case g.BatchNorm():
                affine = {"center": layer.affine, "scale": layer.affine}
                built = keras.layers.BatchNormalization(
                    epsilon=layer.epsilon, momentum=0.9, **affine
                )
                values[position] = built(x[0])
            case g.PReLU():
                built = keras.layers.PReLU("zeros", shared_axes=[1, 2])
                values[position] = built(x[0])
                built.set_weights([arrays[f"{layer.name}.weight"].reshape(built.alpha.shape)])
            case g.Linear():
                built = keras.layers.Dense(layer.out_features, use_bias=layer.bias)
                values[position] = built(x[0])
                names = ("weight", "bias") if layer.bias else ("weight",)
                built.set_weights([arrays[f"{layer.name}.{name}"] for name in names])
            case g.Add():
                values[position] = keras.layers.Add()(x)
            case g.Flatten():
                values[position] = keras.layers.Flatten()(x[0])
            case g.Dropout():
                values[position] = keras.layers.Dropout(layer.rate)(x[0])
            case g.Subsample():
                values[position] = keras.layers.MaxPooling2D(1, layer.stride)(x[0])
            case g.GlobalPool():
                values[position] = keras.layers.GlobalAveragePooling2D(keepdims=True)(x[0])
            case g.ReLU():
                values[position] = keras.layers.ReLU()(x[0])
            case g.Sigmoid():
                values[position] = keras.layers.Activation("sigmoid")(x[0])
            case g.HardSigmoid():
                values[position] = keras.layers.Activation(hard_sigmoid)(x[0])
            case g.Multiply():
                values[position] = keras.layers.Multiply()(x)
            case g.Concat():
                values[position] = keras.layers.Concatenate()(x)
            case g.Channels():
                values[position] = x[0][..., layer.start : layer.end]
            case g.LayerNorm():
                values[position] = keras.layers.LayerNormalization(epsilon=layer.epsilon)(x[0])
            case g.LayerScale():
                values[position] = Scale(layer.init_scale)(x[0])
            case g.GELU():
                values[position] = keras.layers.Activation("gelu")(x[0])
            case g.Tokens():
                values[position] = keras.layers.Reshape((-1, x[0].shape[-1]))(x[0])
            case g.Images():
                size = (layer.height, layer.width, x[0].shape[-1])
                values[position] = keras.layers.Reshape(size)(x[0])
            case g.FourierPosition():
                built = Waves(layer.waves(), layer.channels)
                values[position] = built(x[0])
                names = ("token_projection.weight", "token_projection.bias")
                built.set_weights([arrays[f"{layer.name}.{name}"] for name in names])
            case g.CrossCovariance():
                values[position] = CrossCovariance(layer.heads)(x[0])
            case g.ReLU6():
                values[position] = keras.layers.ReLU(6)(x[0])
            case g.DropPath():
                # the plain way: a Dropout with one draw for each sample
                shape = (None, *[1] * (len(x[0].shape) - 1))
                values[position] = keras.layers.Dropout(layer.rate, noise_shape=shape)(x[0])
            case g.Position():
                built = Position()
                values[position] = built(x[0])
                built.set_weights([arrays[layer.name]])
            case g.Attention():
                built = Attention(layer.channels, layer.heads)
                values[position] = built(x[0])
                names = ("qkv.weight", "proj.weight", "proj.bias")
                built.set_weights([arrays[f"{layer.name}.{name}"] for name in names])
            case g.MaskTokens():
                values[position], places = Mask(layer.left)(x[0])
            case g.RestoreTokens():
                # without masking the token rests, and the layer does nothing
                values[position] = Restore()((x[0], places)) if layer.masked else x[0]
    return keras.Model(images, values[len(graph.nodes) - 1])


def plain_training(
    model: Any, head: np.ndarray, scale: float, margin: float
) -> Callable[[Any, Any], float]:
    """Return one training step on uint8 images [N, H, W, 3] and labels."""
    weight = tf.Variable(head)
    variables = [*model.trainable_variables, weight]
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=5e-4)
    optimizer.build(variables)
    classes = len(head)

    @tf.function
    def step(pixels: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            embeddings = model((tf.cast(pixels, tf.float32) - 127.5) / 127.5, training=True)
            unit, rows = tf.math.l2_normalize(embeddings, 1), tf.math.l2_normalize(weight, 1)
            cosines = tf.clip_by_value(
                tf.matmul(unit, rows, transpose_b=True), -0.9999999, 0.9999999
            )
            moved = tf.where(
                cosines > math.cos(math.pi - margin),
                tf.cos(tf.acos(cosines) + margin),
                cosines - margin * math.sin(margin),
            )
            logits = scale * tf.where(tf.one_hot(targets, classes) > 0, moved, cosines)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        gradients = tape.gradient(loss, variables)
        clipped, _ = tf.clip_by_global_norm(gradients[:-1], 5.0)
        optimizer.apply_gradients(zip([*clipped, gradients[-1]], variables, strict=True))
        return loss

    def with_all_rewrites(images: Any, labels: Any) -> float:
        """Step with the graph rewrites that the learner turns off for the whole process."""
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
        try:
            return float(step(images, labels))
        finally:
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})

    return with_all_rewrites


def plain_step(
    model: Any,
    head: np.ndarray,
    scale: float,
    margin: float,
    images: np.ndarray,
    labels: np.ndarray,
) -> Callable[[], float]:
    """Return one whole training step on a fixed batch of uint8 images [N, H, W, 3]."""
    train = plain_training(model, head, scale, margin)
    return lambda: train(tf.constant(images), tf.constant(labels))


def plain_batches(
    paths: Sequence[Path], labels: np.ndarray, batch: int
) -> Iterator[tuple[Any, Any]]:
    """Yield shuffled batches without end: uint8 images [batch, H, W, 3], labels."""

    def read(path: Any, label: Any) -> tuple[Any, Any]:
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.random_flip_left_right(pixels), label

    files = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], labels))
    files = files.shuffle(len(paths)).repeat().map(read, tf.data.AUTOTUNE)
    return iter(files.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE))
