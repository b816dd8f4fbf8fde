"""Backbones as Keras models, built from the core's neutral descriptions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import keras
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import backbones
from marginface.backbones.graph import Graph, Node, array_name
from marginface.backbones.layers import NOISE, BatchNorm
from marginface.checks import check_floating
from marginface_tf.arrays import as_tensor, check_dtype
from marginface_tf.backbones.calls import Call, Pass
from marginface_tf.backbones.layers import LAYERS


@keras.saving.register_keras_serializable("marginface")
class Backbone(keras.Model):
    """Images [batch, 3, height, width] to embeddings [batch, embedding_size].

    Inside, images are channels last, which TensorFlow's CPU kernels need. Keras saves, loads and
    clones it, as it does the head, wherever `marginface_tf` is imported.

    Attributes:
        graph: the core's description.
        arrays: every variable by canonical name.
        layouts: how each canonical array lies in its variable.
        masks: where noise comes from in training that is given none: dropout, drop path, masks.
        synchronized: whether statistics of training are those of the batch of all processes.
        resting: the layers whose running statistics training takes and leaves.
        moving: whether statistics of training move the running ones.
        recomputing: whether training keeps the values between blocks alone, and computes those
            inside again for the backward pass.
    """

    synchronized = False
    moving = True
    recomputing = False
    resting: Collection[str] = frozenset()

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
        self._noise = graph.noise()
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
        self.set_arrays(backbones.initial_weights(graph, drawn))

    def build(self, input_shape: Any) -> None:
        """Make nothing, for all is there; Keras notes the shape."""

    def export(self, filepath: Any, *args: Any, input_signature: Any = None, **options: Any) -> Any:
        """Export as Keras does, called before or not: what goes in is known."""
        if input_signature is None:
            shape = (None, 3, *self.graph.input_size)
            input_signature = [keras.InputSpec(shape=shape, dtype=keras.config.floatx())]
        return super().export(filepath, *args, input_signature=input_signature, **options)

    def __call__(self, images: Any, draw: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Check the arguments, then call; inside `call` Keras would wrap the messages."""
        images = as_tensor(images)
        check_floating(keras.backend.is_float_dtype(images.dtype))
        self.graph.check_images(images.shape)
        if draw is not None:
            draw = {name: as_tensor(value) for name, value in draw.items()}
            shapes = {name: value.shape for name, value in draw.items()}
            training = options.get("training") is True
            self.graph.check_draw(shapes, images.shape[0], training=training)
        return super().__call__(images, draw, **options)

    def call(
        self,
        images: Tensor,
        draw: Mapping[str, Tensor] | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Return embeddings, not normalised.

        Args:
            images: [batch, 3, height, width].
            draw: what `graph.draw` gives for dropout, drop path and masks in training; None draws
                it from `masks`.
            training: whether statistics are the batch's, and values are dropped.
        """
        noise: Mapping[str, Tensor] = {}
        if training:
            noise = self._draw(tf.shape(images)[0]) if draw is None else draw
        shared = Pass(noise, bool(training), self.compute_dtype)
        x = tf.transpose(images, [0, 2, 3, 1])
        if not (self.recomputing and training):
            return self._segment(range(len(self.graph.nodes)), x, shared)
        *segments, last = self.graph.segments()
        for segment in segments:
            x = self._recomputed(segment, x, shared)
        return self._segment(last, x, shared)

    def _segment(self, positions: range, x: Tensor, shared: Pass) -> Tensor:
        """Return the last value of some nodes in a row, the first of which reads `x`."""
        values = {positions.start - 1: x}
        for position in positions:
            node = self.graph.nodes[position]
            values[position] = self._run(node, [values[source] for source in node.inputs], shared)
        return values[positions.stop - 1]

    def _recomputed(self, positions: range, x: Tensor, shared: Pass) -> Tensor:
        """Return the same in training, computed again for the backward pass."""

        @tf.custom_gradient
        def run(x: Tensor) -> tuple[Tensor, Callable[..., Any]]:
            def gradient(upstream: Tensor, variables: Any = ()) -> tuple[Tensor, list[Tensor]]:
                # Not before the backward pass is here, and not as what the forward pass computed.
                with tf.control_dependencies([upstream]):
                    again = tf.identity(x)
                with still_statistics(self), tf.GradientTape() as tape:
                    tape.watch(again)
                    y = self._segment(positions, again, shared)
                d_x, *slopes = tape.gradient(y, [again, *variables], upstream)
                return d_x, slopes

            return self._segment(positions, x, shared), gradient

        return run(x)

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set weights and statistics, of the right shapes, under canonical names."""
        for name, array in arrays.items():
            self.arrays[name].assign(self.layouts[name].to_framework(array))

    def _draw(self, batch: Tensor) -> dict[str, Tensor]:
        """Draw each layer's noise."""
        return {
            name: keras.random.randint([batch, *shape], 0, NOISE - 1, "int32", self.masks)
            for name, shape in self._noise.items()
        }

    def _run(self, node: Node, inputs: list[Tensor], shared: Pass) -> Tensor:
        layer = node.layer
        call = Call(
            {part: self.arrays[array_name(layer, part)] for part in layer.parameters()},
            shared.training and layer.name not in self.resting,
            shared.noise.get(layer.noise_of),
            shared.dtype,
            self.synchronized,
            self.moving,
        )
        return LAYERS[type(layer)](layer, call, *inputs)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` makes a backbone with new weights."""
        graph = self.graph
        described = {
            "name": graph.name,
            "embedding_size": graph.embedding_size,
            "input_size": graph.input_size,
            "dropout": graph.dropout_rate,
            "batch_norm_epsilon": graph.batch_norm_epsilon,
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
    batch_norm_epsilon: float | None = None,
    seed: int | None = None,
    dtype: Any = None,
) -> Backbone:
    """Return a freshly initialised backbone.

    Args:
        name: one of `marginface.backbones.names()`.
        embedding_size: length of the embedding.
        input_size: height and width of the images in pixels.
        dropout: share of the values dropped before the embedding layer, in training.
        batch_norm_epsilon: of every batch normalisation, where weights were trained with another
            than the network's own.
        seed: of the core's generator, the same weights in every framework; None draws one from
            Keras' global generator, so that `keras.utils.set_random_seed` decides.
        dtype: of the weights, or a Keras dtype policy; Keras' default for None.

    Raises:
        MarginfaceError: an unknown name, or a value out of range.

    >>> create_backbone("mbf", embedding_size=64)(tf.zeros([2, 3, 112, 112])).shape
    TensorShape([2, 64])
    """
    check_dtype(dtype)
    graph = backbones.describe(name, embedding_size, input_size, dropout, batch_norm_epsilon)
    return Backbone(graph, seed=seed, dtype=dtype)


def synchronize(backbone: Backbone) -> None:
    """Let statistics of training be those of the batch of all processes."""
    backbone.synchronized = True


@contextmanager
def still_statistics(backbone: Backbone) -> Iterator[None]:
    """Leave running statistics where they are in training, inside, as batches seen before do."""
    before, backbone.moving = backbone.moving, False
    try:
        yield
    finally:
        backbone.moving = before


def rest(backbone: Backbone, layers: Collection[str]) -> None:
    """Let these layers alone normalise by their stored statistics in training; they stay."""
    backbone.resting = frozenset(layers)
