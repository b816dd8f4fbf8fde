"""Backbones as Keras models, built from the core's neutral descriptions."""

from __future__ import annotations

from typing import Any, Self

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface import backbones
from marginface.backbones.graph import (
    IMAGES,
    Add,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Graph,
    Layer,
    Linear,
    PReLU,
)
from marginface.checks import check_floating
from marginface_tf.backbones.layers import as_tensor, batch_norm, conv, dropout, prelu
from marginface_tf.backbones.weights import load_weights


@keras.saving.register_keras_serializable("marginface")
class Backbone(keras.Model):
    """Images [batch, 3, height, width] to embeddings [batch, embedding_size].

    Inside, images are channels last, which TensorFlow's CPU kernels need. Keras saves, loads and
    clones it, as it does the head, wherever `marginface_tf` is imported.

    Attributes:
        graph: the core's description.
        arrays: every variable by canonical name.
        layouts: how each canonical array lies in its variable.
        masks: where dropout's randomness comes from.
        share: which process of how many this is; of several, statistics and masks of training are
            those of the batch of all.
    """

    share = (0, 1)

    def __init__(
        self,
        graph: Graph,
        *,
        seed: int | None = None,
        dtype: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name=name or graph.name, dtype=dtype, **options)
        # XLA's depthwise convolutions are five times slower on a CPU, where Keras would take it.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.graph = graph
        self.layouts = backbones.layouts(graph, "tf")
        self.arrays = {}
        self.masks = keras.random.SeedGenerator(None if seed is None else seed % 2**32)
        norms = tuple(
            f"{node.layer.name}." for node in graph.nodes if isinstance(node.layer, BatchNorm)
        )
        wide = keras.backend.result_type(self.variable_dtype, "float32")  # statistics need it
        for name, parameter in graph.parameters().items():
            self.arrays[name] = self.add_weight(
                shape=self.layouts[name].shape,
                initializer="zeros",
                dtype=wide if name.startswith(norms) else self.variable_dtype,
                trainable=parameter.trainable,
                autocast=not name.startswith(norms),
                name=name,
            )
        self.build((None, 3, *graph.input_size))
        drawn = int(keras.random.randint((), 0, 2**31 - 1)) if seed is None else seed
        load_weights(self, backbones.initial_weights(graph, drawn))

    def build(self, input_shape: Any) -> None:
        """Make nothing, for all is there; Keras notes the shape, which its `export` asks for."""

    def __call__(self, images: Any, *args: Any, **options: Any) -> Any:
        """Check the images, then call; inside `call` Keras would wrap the message."""
        images = as_tensor(images)
        check_floating(keras.backend.is_float_dtype(images.dtype))
        self.graph.check_images(images.shape)
        return super().__call__(images, *args, **options)

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """Return embeddings, not normalised."""
        values = {IMAGES: tf.transpose(images, [0, 2, 3, 1])}
        for position, node in enumerate(self.graph.nodes):
            inputs = [values[source] for source in node.inputs]
            values[position] = self._apply(node.layer, inputs, bool(training))
        return values[len(self.graph.nodes) - 1]

    def _apply(self, layer: Layer, inputs: list[Tensor], training: bool) -> Tensor:
        x = inputs[0]
        match layer:
            case Conv():
                return conv(x, self._value(layer, "weight"), layer)
            case BatchNorm():
                return self._batch_norm(layer, x, training)
            case PReLU():
                return prelu(x, self._value(layer, "weight"))
            case Linear():
                y = tf.matmul(x, self._value(layer, "weight"))
                return y + self._value(layer, "bias") if layer.bias else y
            case Dropout():
                return dropout(x, layer.rate, self.masks, self.share) if training else x
            case Flatten():
                return tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
            case Add():
                return x + inputs[1]

    def _value(self, layer: Conv | PReLU | Linear | BatchNorm, suffix: str) -> Tensor:
        return self.arrays[f"{layer.name}.{suffix}"].value

    def _batch_norm(self, layer: BatchNorm, x: Tensor, training: bool) -> Tensor:
        arrays = [
            self.arrays[f"{layer.name}.{suffix}"]
            for suffix in ("weight", "bias", "running_mean", "running_var")
        ]
        y, mean, variance = batch_norm(
            x,
            *(array.value for array in arrays),
            training=training,
            synchronized=self.share[1] > 1,
        )
        if training:
            arrays[2].assign(mean)
            arrays[3].assign(variance)
        return y

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` makes a backbone with new weights."""
        graph = self.graph
        rates = [node.layer.rate for node in graph.nodes if isinstance(node.layer, Dropout)]
        described = {
            "name": graph.name,
            "embedding_size": graph.embedding_size,
            "input_size": graph.input_size,
            "dropout": max(rates, default=0.0),
        }
        config: dict[str, Any] = super().get_config()
        return config | {"graph": described}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a backbone of a configuration."""
        return cls(**config | {"graph": backbones.describe(**config["graph"])})


def create_backbone(
    name: str,
    embedding_size: int = 512,
    *,
    input_size: tuple[int, int] = (112, 112),
    dropout: float = 0.0,
    seed: int | None = None,
    dtype: Any = None,
) -> Backbone:
    """Return a freshly initialised backbone.

    Args:
        name: one of `marginface.backbones.names()`.
        embedding_size: length of the embedding.
        input_size: height and width of the images in pixels.
        dropout: share of the values dropped before the embedding layer, in training.
        seed: of the core's generator, the same weights in every framework; None draws one from
            Keras' global generator, so that `keras.utils.set_random_seed` decides.
        dtype: of the weights, or a Keras dtype policy; Keras' default for None.

    Raises:
        MarginfaceError: an unknown name, or a value out of range.

    >>> create_backbone("mbf", embedding_size=64)(tf.zeros([2, 3, 112, 112])).shape
    TensorShape([2, 64])
    """
    graph = backbones.describe(name, embedding_size, input_size, dropout)
    return Backbone(graph, seed=seed, dtype=dtype)


def synchronize(backbone: Backbone, rank: int, size: int) -> None:
    """Let statistics and masks of training be those of the batch of all processes."""
    backbone.share = (rank, size)
