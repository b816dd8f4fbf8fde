"""The classification head: class weights and a margin loss."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import losses
from marginface.checks import check_count
from marginface.errors import MarginfaceError
from marginface.heads import (
    HeadPlan,
    Sampling,
    check_update,
    draw_step,
    plan_head,
    split_draw,
)
from marginface.losses import MarginLoss
from marginface.training.optimizers import SGD
from marginface_tf.classes import Classes, class_terms, own_cosines, unit
from marginface_tf.layers import as_tensor
from marginface_tf.losses import loss_ops
from marginface_tf.losses.base import Tensors

BLOCK_LOGITS = 2**19  # of a block that XLA is fastest with; a single block is not compiled at all


@keras.saving.register_keras_serializable("marginface")
class MarginHead(keras.layers.Layer):
    """Mean margin loss of embeddings against learned class weights.

    Args:
        loss: a loss from `marginface.losses.get`, or its name.
        embedding_size: length of the embeddings.
        num_classes: number of identities.
        dtype: of `weight`, or a Keras dtype policy; Keras' default for None.
        accumulation: calls to one optimizer step. The state moves with the last of them, to the
            mean of what each would have made it.
        block: classes whose logits are computed at a time; for None what is fastest. It changes
            memory and time, and nothing else.
        update: steps class weights and bias in the backward pass at the learning rate `rate`; for
            None that is an optimizer's work.
        sample_rate: how many of the classes a step looks at; below 1 it needs `update`, which
            leaves weights, momentum and decay of all others as they are. `draw` draws them. In
            evaluation all classes count.
        sampling: what the sample stands for, see `marginface.heads.draw_classes`.
        options: what every Keras layer takes, such as `name`.

    In a replica of tf.distribute, a call in training gathers target cosines, norms and draws, so
    that state and margins are those of the whole batch.

    Attributes:
        weight: class weights [num_classes * loss.num_centers, embedding_size], not normalised.
        bias: [num_classes] (softmax), [1] (sphereface2, uniface) or None.
        state: what the loss carries from step to step, by name; not trainable.
        momentum: what `update` carries for `weight` and `bias`, by name; not trainable.
        rate: the learning rate of `update`, to be set before the backward pass.

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
        accumulation: int = 1,
        block: int | None = None,
        update: SGD | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        **options: Any,
    ) -> None:
        # No autocast: half precision embeddings are widened here, the weights stay as they are.
        super().__init__(dtype=dtype, autocast=False, **options)
        self.loss = losses.as_loss(loss)
        self.embedding_size, self.num_classes = losses.check_head(embedding_size, num_classes)
        self.accumulation = check_count("accumulation", accumulation)
        self.block = None if block is None else check_count("block", block)
        check_update(update, sample_rate, sampling, self.accumulation)
        self.update, self.sample_rate, self.sampling = update, sample_rate, sampling
        self.rate: Any = None
        self.weight = self.add_weight(
            trainable=update is None,
            shape=(self.num_classes * self.loss.num_centers, self.embedding_size),
            initializer=keras.initializers.RandomNormal(stddev=losses.WEIGHT_STD),
            autocast=False,
            name="weight",
        )
        bias, start = self.loss.initial_bias(self.num_classes), self.loss.initial_state()
        self.bias = None if bias is None else self._add("bias", bias, trainable=update is None)
        self.state = {name: self._add(name, value) for name, value in start.items()}
        self.momentum: dict[str, Any] = {}
        if update is not None:
            for name, variable in self._stepped().items():
                self.momentum[name] = self.add_weight(
                    shape=variable.shape,
                    dtype=variable.dtype,
                    initializer="zeros",
                    trainable=False,
                    autocast=False,
                    name=f"momentum_{name}",
                )
        self._sums: dict[str, Any] = {}
        if self.accumulation > 1 and start:
            zero = np.array(0, np.int64)
            self._calls = self._add("accumulated_calls", zero)
            self._sums = {n: self._add(f"accumulated_{n}", v * 0) for n, v in start.items()}
        self._ops = loss_ops(self.loss)
        self.built = True

    def _add(self, name: str, value: NDArray[Any], *, trainable: bool = False) -> Any:
        # Running statistics would not move in half precision.
        wide = keras.backend.result_type(self.variable_dtype, "float32")
        floating = self.variable_dtype if trainable else wide
        return self.add_weight(
            shape=value.shape,
            dtype=floating if value.dtype.kind == "f" else value.dtype.name,
            initializer=keras.initializers.Constant(value),
            trainable=trainable,
            autocast=False,
            # Every replica computes the same state from the whole batch.
            aggregation="mean" if trainable else "only_first_replica",
            name=name,
        )

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
        given = {name: as_tensor(value) for name, value in (draw or {}).items()}
        whole = options.get("training") is False
        sample, draws = split_draw(given, 1 if whole else self.sample_rate)
        losses.check_draw(self.loss, {k: v.shape for k, v in draws.items()}, embeddings.shape[0])
        if tf.executing_eagerly() and isinstance(labels, tf.Tensor):
            smallest, largest = tf.reduce_min(labels), tf.reduce_max(labels)
            losses.check_range(int(smallest), int(largest), self.num_classes)
        return super().__call__(embeddings, labels, sample | draws, **options)

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
            draw: what `loss.draw` drew for this batch, for losses with randomness; else nothing.
            training: False leaves the loss's state as it is.

        Raises:
            MarginfaceError: a wrong shape or type, or a label out of range, which is named. In a
                graph, where Python sees no values, the loss of such a label is NaN.
        """
        labels = tf.cast(labels, tf.int64)
        # Angles need float32: half precision cannot tell cosines near 1 apart.
        compute = keras.backend.result_type(embeddings.dtype.name, "float32", self.weight.dtype)
        x = tf.cast(embeddings, compute)
        units, norms = unit(x)
        left = units if self.loss.normalized else x
        weight, bias = self.weight.value, None if self.bias is None else self.bias.value
        learning = training is not False
        sample, draws = split_draw(draw or {}, self.sample_rate if learning else 1)
        classes, inside = self._classes(labels, sample, x, learning=learning)
        prepared, after = self._prepare(
            own_cosines(left, weight, classes),
            tf.stop_gradient(norms),
            _cast({name: variable.value for name, variable in self.state.items()}, compute),
            _cast(draws, compute),
            training=learning,
        )
        classes = replace(classes, prepared=prepared)
        radius = norms if self.loss.norm_scaled else None
        own, own_bias, others = class_terms(left, radius, weight, bias, classes)
        target = self._ops.target(own, norms, prepared) * self.loss.scale
        if radius is not None:
            target *= radius
        target += own_bias
        if self.loss.logit_limit is not None:
            target = tf.clip_by_value(target, -self.loss.logit_limit, self.loss.logit_limit)
        target = tf.where(inside, target, math.nan)
        each = self._ops.reduce(target, others) + self._ops.penalty(norms)
        if learning:
            self._carry(after)
        return tf.reduce_mean(each)

    def draw(self, rng: np.random.Generator, labels: NDArray[Any]) -> dict[str, Tensor]:
        """Draw all that a call on a batch with these labels [batch] takes: margins and classes."""
        given = draw_step(self.loss, rng, labels, self.num_classes, self.sample_rate, self.sampling)
        return {name: tf.constant(value) for name, value in given.items()}

    def _classes(
        self, labels: Tensor, sample: Tensors, x: Tensor, *, learning: bool
    ) -> tuple[Classes, Tensor]:
        """Return what the pass over the classes goes by, and which labels are among them."""
        sampled, number = sample.get("classes"), self.num_classes
        inside = (labels >= 0) & (labels < number)
        if sampled is not None:
            number = sampled.shape[0]
            if number is None:
                raise MarginfaceError(
                    "draw['classes'] has an unknown length; trace for each length"
                )
            sampled = tf.cast(sampled, tf.int64)
            places = tf.minimum(tf.searchsorted(sampled, labels, out_type=tf.int64), number - 1)
            inside = tf.gather(sampled, places) == labels
            if tf.executing_eagerly() and not bool(tf.reduce_all(inside)):
                raise MarginfaceError(
                    "draw['classes'] lacks the class of a label; draw it for these labels"
                )
            labels = places
        plan = self.plan(x.shape[0] or 1, x.dtype.size, number)
        update = self._step if self.update is not None and learning else None
        weights = sample.get("log_weights")
        return Classes(self._ops, {}, labels, plan, sampled, weights, update), inside

    def _stepped(self) -> dict[str, Any]:
        """Return the variables that `update` steps."""
        found = {"weight": self.weight, "bias": self.bias}
        return {name: variable for name, variable in found.items() if variable is not None}

    def _step(self, name: str, rows: Tensor | None, gradient: Tensor) -> None:
        """Step rows of the weight or the bias; all of them for None."""
        assert self.update is not None
        if self.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        values, velocities = self._stepped()[name].value, self.momentum[name].value
        decay = self.update.decay_for(values.shape.rank)
        # tf.cast would take a float through float32.
        known = tf.is_tensor(self.rate)
        rate = (tf.cast if known else tf.constant)(self.rate, gradient.dtype)
        if rows is None:
            velocity = self.update.momentum * velocities + gradient + decay * values
            velocities.assign(velocity)
            values.assign_sub(rate * velocity)
            return
        value, velocity = tf.gather(values, rows), tf.gather(velocities, rows)
        velocity = self.update.momentum * velocity + gradient + decay * value
        value -= rate * velocity
        velocities.scatter_nd_update(rows[:, None], velocity)
        values.scatter_nd_update(rows[:, None], value)

    def plan(self, batch: int, itemsize: int = 4, classes: int | None = None) -> HeadPlan:
        """Return how a batch will be computed, and how much memory that takes; it prints as text.

        Args:
            batch: embeddings.
            itemsize: bytes of a logit.
            classes: how many it looks at; for None as many as it samples in training.
        """
        if classes is None:
            classes = max(1, int(self.sample_rate * self.num_classes))
        # XLA cannot put them where the gradient will be; a quarter more than it saves a product.
        gradient = 0 if self.update is not None else classes * self.embedding_size * itemsize
        return plan_head(
            batch,
            classes,
            itemsize=itemsize,
            block_logits=BLOCK_LOGITS,
            block=self.block,
            kept_bytes=gradient // 4,
        )

    def _prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draws: Tensors, *, training: bool
    ) -> tuple[Tensors, Tensors]:
        """Return what the loss prepares for these samples, and the next state."""
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1 or not training:
            return self._ops.prepare(cosines, norms, state, draws)
        if not (state or draws):
            return self._ops.prepare(cosines, norms, state, draws)
        whole = {name: replica.all_gather(value, 0) for name, value in draws.items()}
        prepared, after = self._ops.prepare(
            replica.all_gather(cosines, 0), replica.all_gather(norms, 0), state, whole
        )
        batch = tf.shape(cosines)[0]
        sizes = replica.all_gather(batch[None], 0)  # the last batch of an epoch may differ
        first = tf.reduce_sum(sizes[: replica.replica_id_in_sync_group])
        return {name: value[first : first + batch] for name, value in prepared.items()}, after

    def _carry(self, after: Tensors) -> None:
        """Set the state, with the last call of an optimizer step."""
        if self.accumulation == 1:
            for name, variable in self.state.items():
                variable.assign(tf.cast(after[name], variable.dtype))
        elif self.state:
            calls = self._calls.value + 1
            last = calls == self.accumulation
            self._calls.assign(tf.where(last, tf.zeros_like(calls), calls))
            for name, variable in self.state.items():
                total = self._sums[name].value + tf.cast(after[name], variable.dtype)
                mean = tf.cast(total / tf.cast(calls, total.dtype), variable.dtype)
                variable.assign(tf.where(last, mean, variable.value))
                self._sums[name].assign(tf.where(last, tf.zeros_like(total), total))

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes such a head from, with new weights."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "loss": {"name": self.loss.name, **asdict(self.loss)},
            "embedding_size": self.embedding_size,
            "num_classes": self.num_classes,
            "accumulation": self.accumulation,
            "block": self.block,
            "update": None if self.update is None else asdict(self.update),
            "sample_rate": self.sample_rate,
            "sampling": self.sampling,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a head of a configuration."""
        update = config["update"] and SGD(**config["update"])
        return cls(**config | {"loss": losses.get(**config["loss"]), "update": update})


def _cast(values: Tensors, dtype: str) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    found = {name: tf.convert_to_tensor(value) for name, value in values.items()}
    return {name: tf.cast(v, dtype) if v.dtype.is_floating else v for name, v in found.items()}
