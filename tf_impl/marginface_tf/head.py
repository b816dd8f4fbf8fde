"""The classification head: class weights and a margin loss."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Self

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface import losses
from marginface.losses import MarginLoss
from marginface_tf.layers import as_tensor
from marginface_tf.losses import loss_ops, unit
from marginface_tf.losses.base import Tensors


@keras.saving.register_keras_serializable("marginface")
class MarginHead(keras.layers.Layer):
    """Mean margin loss of embeddings against learned class weights.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        dtype: of `weight`, or a Keras dtype policy; Keras' default for None.
        options: what every Keras layer takes, such as `name`.

    Attributes:
        weight: class weights [num_classes, embedding_size], not normalised.
        bias: [num_classes] for losses that are not normalised (softmax), else None.
        state: what the loss carries from step to step, by name; not trainable.

    Raises:
        MarginfaceError: an unknown loss, or a size that is no whole number of at least 1.

    >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
    >>> head(tf.ones([2, 8]), tf.constant([0, 4])).shape
    TensorShape([])
    """

    def __init__(
        self,
        loss: MarginLoss | str,
        embedding_size: int = 512,
        num_classes: int | None = None,
        *,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        # No autocast: half precision embeddings are widened here, the weights stay as they are.
        super().__init__(dtype=dtype, autocast=False, **options)
        self.loss = losses.as_loss(loss)
        self.embedding_size, self.num_classes = losses.check_head(embedding_size, num_classes)
        self.weight = self.add_weight(
            shape=(self.num_classes, self.embedding_size),
            initializer=keras.initializers.RandomNormal(stddev=losses.WEIGHT_STD),
            autocast=False,
            name="weight",
        )
        self.bias = None
        if not self.loss.normalized:
            self.bias = self.add_weight(
                shape=(self.num_classes,), initializer="zeros", autocast=False, name="bias"
            )
        self.state = {}
        for name, value in self.loss.initial_state().items():
            self.state[name] = self.add_weight(
                shape=value.shape,
                dtype=self.variable_dtype if value.dtype.kind == "f" else value.dtype.name,
                initializer=keras.initializers.Constant(value),
                trainable=False,
                autocast=False,
                name=name,
            )
        self._ops = loss_ops(self.loss)
        self.built = True

    def __call__(
        self, embeddings: Any, labels: Any, draw: Tensors | None = None, **options: Any
    ) -> Any:
        """Check the arguments, then call; inside `call` Keras would wrap the messages."""
        embeddings, labels = as_tensor(embeddings), as_tensor(labels)
        losses.check_call(
            embeddings.shape,
            labels.shape,
            integer_labels=keras.backend.is_int_dtype(labels.dtype),
            embedding_size=self.embedding_size,
        )
        if tf.executing_eagerly() and isinstance(labels, tf.Tensor):
            smallest, largest = tf.reduce_min(labels), tf.reduce_max(labels)
            losses.check_range(int(smallest), int(largest), self.num_classes)
        return super().__call__(embeddings, labels, draw, **options)

    def call(
        self,
        embeddings: Tensor,
        labels: Tensor,
        draw: Tensors | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Return the mean loss.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1.
            draw: what `loss.draw` drew for this batch, for losses with randomness.
            training: False leaves the loss's state as it is.

        Raises:
            MarginfaceError: a wrong shape or type, or a label out of range, which is named. In a
                graph, where Python sees no values, TensorFlow's gather raises instead on a CPU;
                on a GPU and under XLA, where it never does, the loss is NaN.
        """
        labels = tf.cast(labels, tf.int64)
        # Angles need float32: half precision cannot tell cosines near 1 apart.
        compute = keras.backend.result_type(embeddings.dtype.name, "float32", self.weight.dtype)
        x, w = tf.cast(embeddings, compute), tf.cast(self.weight.value, compute)
        units, norms = unit(x)
        if self.bias is None:
            logits = tf.matmul(units, unit(w)[0], transpose_b=True)
        else:
            logits = tf.matmul(x, w, transpose_b=True) + tf.cast(self.bias.value, compute)
        inside = (labels >= 0) & (labels < self.num_classes)
        on_target = tf.where(inside, tf.gather(logits, labels, axis=1, batch_dims=1), math.nan)
        state = _cast({name: variable.value for name, variable in self.state.items()}, compute)
        draws = _cast(draw or {}, compute)
        prepared, after = self._ops.prepare(
            tf.stop_gradient(on_target), tf.stop_gradient(norms), state, draws
        )
        target = self.loss.scale * self._ops.target(on_target, prepared)
        others = self.loss.scale * self._ops.negatives(logits, prepared)
        value = tf.reduce_mean(self._ops.reduce(target, others, labels))
        if training is not False:
            for name, variable in self.state.items():
                variable.assign(tf.cast(after[name], variable.dtype))
        return value

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes such a head from, with new weights."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "loss": {"name": self.loss.name, **asdict(self.loss)},
            "embedding_size": self.embedding_size,
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a head of a configuration."""
        return cls(**config | {"loss": losses.get(**config["loss"])})


def _cast(values: Tensors, dtype: str) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    found = {name: tf.convert_to_tensor(value) for name, value in values.items()}
    return {name: tf.cast(v, dtype) if v.dtype.is_floating else v for name, v in found.items()}
