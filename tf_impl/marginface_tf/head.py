"""The classification head: class weights and a margin loss."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface import losses
from marginface.errors import MarginfaceError
from marginface.losses import MarginLoss
from marginface_tf.losses import loss_ops, unit
from marginface_tf.losses.base import Tensors


class MarginHead(keras.layers.Layer):
    """Mean margin loss of embeddings against learned class weights.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        dtype: of `weight`, or a Keras dtype policy; Keras' default for None.

    Attributes:
        weight: class weights [num_classes, embedding_size], not normalised.
        bias: [num_classes] for losses that are not normalised (softmax), else None.
        state: what the loss carries from step to step, by name; not trainable.

    Raises:
        MarginfaceError: an unknown loss, or a size below 1.

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
    ) -> None:
        # No autocast: half precision embeddings are widened here, the weights stay as they are.
        super().__init__(dtype=dtype, autocast=False)
        self.loss = losses.get(loss) if isinstance(loss, str) else loss
        self.embedding_size, self.num_classes = losses.check_head(embedding_size, num_classes)
        self.weight = self.add_weight(
            shape=(self.num_classes, embedding_size),
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
        embeddings, labels = (
            value if isinstance(value, keras.KerasTensor) else tf.convert_to_tensor(value)
            for value in (embeddings, labels)
        )
        losses.check_call(
            embeddings.shape,
            labels.shape,
            integer_labels=keras.backend.is_int_dtype(labels.dtype),
            embedding_size=self.embedding_size,
        )
        if tf.executing_eagerly() and isinstance(labels, tf.Tensor):
            _check_range(labels, self.num_classes)
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
            MarginfaceError: a wrong shape or type, or (run eagerly) a label out of range.
        """
        # Angles need float32: half precision cannot tell cosines near 1 apart.
        compute = keras.backend.result_type(embeddings.dtype.name, "float32", self.weight.dtype)
        x, w = tf.cast(embeddings, compute), tf.cast(self.weight.value, compute)
        units, norms = unit(x)
        if self.bias is None:
            logits = tf.matmul(units, unit(w)[0], transpose_b=True)
        else:
            logits = tf.matmul(x, w, transpose_b=True) + tf.cast(self.bias.value, compute)
        rows = tf.range(tf.shape(logits)[0], dtype=labels.dtype)
        on_target = tf.gather_nd(logits, tf.stack([rows, labels], 1))
        state = _cast({name: variable.value for name, variable in self.state.items()}, compute)
        draws = _cast(draw or {}, compute)
        prepared, after = self._ops.prepare(tf.stop_gradient(on_target), norms, state, draws)
        target = self.loss.scale * self._ops.target(on_target, prepared)
        others = self.loss.scale * self._ops.negatives(logits, prepared)
        value = tf.reduce_mean(self._ops.reduce(target, others, labels))
        if training is not False:
            for name, variable in self.state.items():
                variable.assign(tf.cast(after[name], variable.dtype))
        return value


def _cast(values: Tensors, dtype: str) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    found = {name: tf.convert_to_tensor(value) for name, value in values.items()}
    return {name: tf.cast(v, dtype) if v.dtype.is_floating else v for name, v in found.items()}


def _check_range(labels: Tensor, num_classes: int) -> None:
    outside = (labels < 0) | (labels >= num_classes)
    if tf.reduce_any(outside):
        raise MarginfaceError(
            f"label {int(labels[outside][0])} is out of range for {num_classes} classes; expected "
            f"0 to {num_classes - 1}"
        )
