"""The classification head: class weights and a margin loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor

from marginface import losses
from marginface.arrays import ArraySource
from marginface.checks import check_count, check_labels
from marginface.errors import MarginfaceError
from marginface.heads import (
    COUNT,
    UPDATE_APART,
    WEIGHT_STD,
    HeadMetrics,
    HeadPlan,
    Precision,
    Sampling,
    Shard,
    check_call,
    check_head,
    check_logits,
    check_precision,
    check_unshared,
    check_update,
    class_rows,
    draw_step,
    head_loss,
    own_draw,
    own_rows,
    plan_head,
    shard_rows,
    split_sample,
    update_slots,
)
from marginface.losses import MarginLoss, Sample
from marginface.optimizers import OPTIMIZERS, Optimizer
from marginface_tf.arrays import as_tensor, check_dtype
from marginface_tf.fitting import check_moves
from marginface_tf.heads.blocks import (
    Parameters,
    PassInputs,
    TargetClasses,
    Terms,
    unit_vectors,
)
from marginface_tf.heads.classes import class_terms, target_cosines
from marginface_tf.heads.companion import companion_losses
from marginface_tf.heads.margins import class_margins
from marginface_tf.heads.measuring import (
    Nearest,
    add_margin,
    dense_cosines,
    metrics_of,
    nearest_classes,
    nearest_of_all,
)
from marginface_tf.heads.memory import ClassState, Memories, has_memories, mix
from marginface_tf.heads.sampling import LocalClasses, local_classes
from marginface_tf.heads.sharding import added_gradient, combine, embeddings_of_all
from marginface_tf.heads.state import PreparedStep, carry_state, finish_step, prepare_step
from marginface_tf.heads.stepping import REFUSED, StepSettings, Update, with_gradient_check
from marginface_tf.losses import loss_ops
from marginface_tf.losses.base import LossOps, Tensors
from marginface_tf.processes import check_processes, gather, gather_rows, in_replica, replicas

USUAL_BATCH = 256  # where a graph is made for any: more costs a little time, fewer the memory
OF_EVERY_LAYER = {"name", "trainable", "activity_regularizer"}
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
        update: `marginface.SGD` or `AdamW`, which steps class weights and bias in the backward
            pass, block by block, at the learning rate `rate`, so that they need no gradient; for
            None that is an optimizer's work.
        sample_rate: how many of the classes a step looks at; below 1 it needs `update`, which
            leaves weights, momentum or moments, and decay of all others as they are. `draw` draws
            them. In evaluation all classes count.
        sampling: what the sample stands for, see `marginface.heads.draw_classes`.
        precision: what embeddings, class weights and slopes are rounded to for the three matrix
            products: "full" (not at all), "bfloat16" or "float16". Sums, target cosines and all
            else stay as they are.
        interclass_filter: cosines with other classes above it count as 0 and have no gradient: such
            classes are likely to be the sample's own person under another label. None for no
            filter.
        shard: which of the classes this process owns; None for all. The loss is the mean over this
            process's samples, over all classes. A drawn sample is of all classes, the same on every
            process, and `draw` takes the labels of all.
        parameters: of a loss that is given by name, such as `margin` and `scale`; and what
            every Keras layer takes, such as `name`.

    In a replica of tf.distribute, a call in training gathers target cosines, norms and draws, so
    that state and margins are those of the whole batch. A head with a shard is made outside the
    scope of its MultiWorkerMirroredStrategy and called in its `run`, with batches of one size. A
    shard's gradients are final; those of embeddings, and of what all processes have alike, are to
    be averaged.

    Attributes:
        weight: class weights [num_classes * loss.num_centers, embedding_size], not normalised; of
            a shard, its classes' alone.
        bias: [num_classes] (softmax; adaptiveface's margins), [1] (sphereface2, uniface) or None.
        state: what the loss carries from step to step, by name; not trainable.
        class_state: what the loss keeps for each class, by name, with a row a class; of a shard,
            its classes' alone. What a step leaves is written when the next begins, or in saving.
        momentum: what SGD as `update` carries for `weight` and `bias`, by name; not trainable.
        first, second, count: what AdamW carries instead: moments, and each row's number of steps.
        rate: the learning rate of `update`, to be set before the backward pass, from inside a graph
            or outside; None before.
        loss_scale: what a gradient scaler multiplies the loss by, to be set before the backward
            pass; steps are by the gradient divided by it. None for nothing.

    Raises:
        MarginfaceError: an unknown loss or parameter, or a size that is no whole number of at
            least 1.

    >>> head = MarginHead("arcface", embedding_size=8, num_classes=5, margin=0.3)
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
        update: Optimizer | None = None,
        sample_rate: float = 1.0,
        sampling: Sampling = "partial_fc",
        precision: Precision = "full",
        interclass_filter: float | None = None,
        shard: Shard | None = None,
        **parameters: Any,
    ) -> None:
        of_layer = {name: parameters.pop(name) for name in OF_EVERY_LAYER & parameters.keys()}
        check_dtype(dtype)
        # No autocast: half precision embeddings are widened here, the weights stay as they are.
        super().__init__(dtype=dtype, autocast=False, **of_layer)
        self.loss = head_loss(loss, parameters)
        self._ops = loss_ops(self.loss)
        self.embedding_size, self.num_classes = check_head(self.loss, embedding_size, num_classes)
        companion = self.loss.companion
        self._companion = None if companion is None else loss_ops(companion)
        self.accumulation = check_count("accumulation", accumulation)
        self.block = None if block is None else check_count("block", block)
        check_update(update, sample_rate, sampling, self.accumulation)
        check_precision(precision)
        self.precision = precision
        self.loss.check_filter(interclass_filter)
        self.interclass_filter = interclass_filter
        self.update, self.sample_rate, self.sampling = update, sample_rate, sampling
        self._settings = StepSettings()
        self.shard = shard
        self.classes = (shard or Shard(0, 1)).classes(self.num_classes)
        wide = tf.as_dtype(keras.backend.result_type(self.variable_dtype, "float32"))
        sizes = self.num_classes, self.embedding_size
        kept = class_rows(self.loss, *sizes, self.classes, wide.size)
        self.weight = self.add_weight(
            trainable=update is None,
            shape=(len(self.classes) * self.loss.num_centers, self.embedding_size),
            initializer=keras.initializers.RandomNormal(stddev=WEIGHT_STD),
            autocast=False,
            name="weight",
        )
        bias, start = (
            self.loss.initial_bias(self.num_classes),
            self.loss.initial_state(self.num_classes),
        )
        # One bias of all classes, or the companion's.
        self._one_bias = bias is not None and len(bias) == 1 and self.loss.margin_pull is None
        if bias is not None and not self._one_bias:
            bias = bias[self.classes.start : self.classes.stop]
        self.bias = None if bias is None else self._add("bias", bias, trainable=update is None)
        self.state = {name: self._add(name, value) for name, value in start.items()}
        self.class_state = {name: self._add(name, value) for name, value in kept.items()}
        self._class_state: Any = None
        if kept:
            self._class_state = ClassState(
                self._ops,
                self.class_state,
                self.state,
                self.embedding_size,
                wide,
                self.accumulation,
                alone=shard is None,
            )
        self._anchor: Any = None
        if update is not None:
            # Where nothing asks for a gradient there is no backward pass to step in: Keras, and a
            # tape, ask for that of what can be trained. Any optimizer leaves nothing as it is.
            self._anchor = self.add_weight(
                shape=(0,), initializer="zeros", autocast=False, name="anchor"
            )
        self._slots = update_slots(update, self.weight.dtype)
        for slot in self._slots:
            setattr(self, slot, {name: self._add_slot(slot, name) for name in self._stepped()})
        self._sums: dict[str, Any] = {}
        self._calls: Any = None
        if self.accumulation > 1 and start:
            zero = np.array(0, np.int64)
            self._calls = self._add("accumulated_calls", zero)
            self._sums = {n: self._add(f"accumulated_{n}", v * 0) for n, v in start.items()}
        self._gather = in_replica(lambda name, value: gather_rows(value, self.rows(name)))
        self.built = True

    @property
    def rate(self) -> Any:
        """Learning rate of `update`, a variable; None until it was set."""
        return self._settings.rate

    @rate.setter
    def rate(self, value: Any) -> None:
        self._settings.set_rate(value)

    @property
    def loss_scale(self) -> Any:
        """Factor on the loss before the backward pass, a variable; None for none."""
        return self._settings.loss_scale

    @loss_scale.setter
    def loss_scale(self, value: Any) -> None:
        self._settings.set_loss_scale(value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; Keras would make an optimizer's rate a weight of this layer."""
        if name in ("rate", "loss_scale"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _add(self, name: str, value: NDArray[Any], *, trainable: bool = False) -> Any:
        # Running statistics would not move in half precision.
        wide = keras.backend.result_type(self.variable_dtype, "float32")
        floating = self.variable_dtype if trainable else wide
        return self.add_weight(
            shape=value.shape,
            dtype=floating if value.dtype.kind == "f" else value.dtype.name,
            # A constant is made several times over, and rows of all classes are many.
            initializer=keras.initializers.Constant(value) if value.any() else "zeros",
            trainable=trainable,
            autocast=False,
            # Every replica computes the same state from the whole batch.
            aggregation="mean" if trainable else "only_first_replica",
            name=name,
        )

    def _add_slot(self, slot: str, name: str) -> Any:
        variable = self._stepped()[name]
        return self.add_weight(
            shape=variable.shape[:1] if slot == COUNT else variable.shape,
            dtype="int64" if slot == COUNT else variable.dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
            name=f"{slot}_{name}",
        )

    def __call__(
        self, embeddings: Any, labels: Any, draw: Tensors | None = None, **options: Any
    ) -> Any:
        """Check the arguments, then call; inside `call` Keras would wrap the messages."""
        check_moves(self.weight, steps_itself=self.update is not None)
        embeddings, labels = self._check_batch(embeddings, labels)
        given = {name: as_tensor(value) for name, value in (draw or {}).items()}
        whole = options.get("training") is False
        sample, draws = split_sample(given, 1 if whole else self.sample_rate)
        self.loss.check_draw({k: v.shape for k, v in draws.items()}, embeddings.shape[0])
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
                graph, where Python sees no values, that is TensorFlow's InvalidArgumentError; in
                one compiled by XLA, which cannot raise, the loss of such a label is NaN.
        """
        learning = training is not False
        sample, draws = split_sample(draw or {}, self.sample_rate if learning else 1)
        self._check_replicas(learning=learning)
        labels, inside = self._in_range(labels)
        x, norms, all_norms, inputs = self._inputs(embeddings, labels, sample)
        compute, parameters = x.dtype.name, self._parameters(learning=learning)
        logit_norms = all_norms if self.loss.norm_scaled else None
        everybody = self.shard is None and learning and replicas() > 1
        inputs, classes, own_numbers = self._recalled(inputs, everybody=everybody)

        def pass_over(
            step: PreparedStep, parameters: Parameters | Update, inputs: PassInputs
        ) -> Terms:
            ready = replace(inputs, prepared=step.of_all, radius=step.radius)
            return self._terms(x, logit_norms, parameters, ready)

        # From the target cosines alone the loss prepares margins and its next state; one that looks
        # ahead has a pass before, which nobody goes back through.
        ahead = replace(inputs, plan=replace(inputs.plan, kept=0))
        state = {name: variable.value for name, variable in self.state.items()}
        cosines = target_cosines(x, parameters, inputs)
        step = prepare_step(
            self._ops,
            cosines,
            tf.stop_gradient(all_norms),
            _cast(state | own_numbers, compute),
            _cast(draws, compute),
            self.shard,
            lambda step: pass_over(step, self._parameters(learning=False), ahead).others,
            training=learning,
        )
        # The pass over all classes.
        terms = pass_over(step, parameters, inputs)
        # The margin, on each sample's own logit.
        if isinstance(parameters, Update):
            inside &= parameters.steps_before != REFUSED
        step, pull = self._learned_margins(step, parameters, inputs, x.dtype, learning=learning)
        target = tf.where(inside, self._target_logits(terms, norms, step), math.nan)
        sample_losses = self._ops.reduce(target, terms.others) + self._ops.penalty(norms)
        if self._companion is not None:
            sample_losses += self._pair_losses(self._companion, x, parameters, inputs)
        if learning and self.state:
            next_state = finish_step(self._ops, terms.cosines, terms.others, step.state)
            carry_state(self.state, next_state, self._sums, self._calls, self.accumulation)
        if learning and self._class_state is not None:
            samples = Sample(unit_vectors(x)[0], all_norms, cosines)
            self._class_state.leave(classes, samples, everybody=everybody)
        loss = tf.reduce_mean(sample_losses) + pull
        if isinstance(parameters, Update) and parameters.learning:
            loss = with_gradient_check(loss, parameters)
        if isinstance(parameters, Update) and inputs.memories is not None:
            loss = self._class_state.hold(loss)
        return loss

    def cosines(self, embeddings: Any) -> Tensor:
        """Return the cosine of each embedding with each class, [batch, num_classes].

        Of several centres the nearest counts.

        Args:
            embeddings: [batch, embedding_size], not normalised.

        Raises:
            MarginfaceError: a wrong shape or type, or a head in shards.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> head.cosines(tf.ones([2, 8])).shape
        TensorShape([2, 5])
        """
        embeddings, _ = self._check_batch(embeddings)
        check_unshared(self.shard)
        weight = tf.convert_to_tensor(self.weight)
        return dense_cosines(self._wide(embeddings), weight, self.loss.num_centers)

    def logits(
        self,
        embeddings: Any,
        labels: Any = None,
        draw: Tensors | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Return the logits of all classes, [batch, num_classes]; a call never makes this array.

        With labels, those that the loss is made of: the margin is on each sample's own class. The
        loss's state stays as it is.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1; None for no margins.
            draw: with labels, as in a call.
            training: as in a call.

        Raises:
            MarginfaceError: as a call does, or for a head in shards.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> x, labels = tf.ones([2, 8]), tf.constant([0, 4])
        >>> logits = head.logits(x, labels)
        >>> losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        >>> bool(abs(tf.reduce_mean(losses) - head(x, labels)) < 1e-4)
        True
        """
        cosines = self.cosines(embeddings)
        embeddings, labels = self._check_batch(embeddings, labels)
        x = self._wide(embeddings)
        norms, has_bias = unit_vectors(x)[1], self.bias is not None and not self.loss.bias_apart
        bias = tf.cast(self.bias, x.dtype) if has_bias else 0
        state = _cast({n: variable.value for n, variable in self.state.items()}, x.dtype.name)
        plain = cosines
        if not self.loss.normalized:
            plain = tf.matmul(x, tf.cast(self.weight, x.dtype), transpose_b=True)
        if labels is None:
            return self._logits(plain, norms[:, None], bias, self._ops.radius(state))
        draws = {n: as_tensor(v) for n, v in (draw or {}).items() if n in self.loss.draws}
        self.loss.check_draw({n: v.shape for n, v in draws.items()}, embeddings.shape[0])
        labels, _ = self._in_range(labels)
        is_own = tf.range(self.num_classes, dtype=labels.dtype) == labels[:, None]
        everybody = training is not False and replicas() > 1
        inputs = self._pass_inputs(labels, {}, x)
        inputs, _, own_numbers = self._recalled(inputs, everybody=everybody)
        if inputs.memories is not None:
            vectors = mix(tf.cast(self.weight, x.dtype), inputs.memories.of(None))
            plain = dense_cosines(x, vectors, self.loss.num_centers)
        parameters = self._parameters(learning=False)

        def with_margin(step: PreparedStep) -> Tensor:
            step, _ = self._learned_margins(step, parameters, inputs, x.dtype, learning=False)
            values = add_margin(self._ops, plain, norms, is_own, step.own, self.interclass_filter)
            return self._logits(values, norms[:, None], bias, step.radius)

        step = prepare_step(
            self._ops,
            tf.stop_gradient(tf.gather(plain, labels, batch_dims=1)),
            tf.stop_gradient(norms),
            state | _cast(own_numbers, x.dtype.name),
            _cast(draws, x.dtype.name),
            None,
            lambda step: tf.reduce_logsumexp(tf.where(is_own, -math.inf, with_margin(step)), 1),
            training=training is not False,
        )
        return with_margin(step)

    def measure(
        self, embeddings: Any, labels: Any, draw: Tensors | None = None
    ) -> HeadMetrics[Tensor]:
        """Measure accuracy and mean target angle of a batch, without margins; nothing moves.

        It goes over the classes in blocks, as a call does. With shards all processes call it
        together, and each gets the metrics of the whole batch.

        Args:
            embeddings: [batch, embedding_size], not normalised.
            labels: [batch], integers in 0 .. num_classes - 1.
            draw: from `draw`, to look at the classes that it sampled; None for all classes.

        Raises:
            MarginfaceError: as a call does.

        >>> head = MarginHead("arcface", embedding_size=8, num_classes=5)
        >>> metrics = head.measure(head.weight, tf.range(5))
        >>> float(metrics.accuracy), round(float(metrics.target_angle), 2)
        (1.0, 0.0)
        """
        return self.measure_if(True, embeddings, labels, draw)

    def measure_if(
        self, wanted: Tensor | bool, embeddings: Any, labels: Any, draw: Tensors | None = None
    ) -> HeadMetrics[Tensor]:
        """Measure as `measure` does if `wanted`; else look at no class, and return what means none.

        So that one graph of a step is of the steps that are measured, and of all others.
        """
        embeddings, labels = self._check_batch(embeddings, labels)
        given = {name: as_tensor(value) for name, value in (draw or {}).items()}
        sample = split_sample(given, self.sample_rate)[0] if given else {}
        if self.shard is not None:
            check_processes(self.shard)
        labels, _ = self._in_range(labels)
        # Processes talk outside of the branch: a strategy allows nothing else.
        x, _, _, inputs = self._inputs(tf.stop_gradient(embeddings), labels, sample)
        nearest = tf.cond(
            tf.convert_to_tensor(wanted),
            lambda: nearest_classes(x, self._of_logits(self._parameters(learning=False)), inputs),
            lambda: Nearest(*[tf.zeros(tf.shape(x)[:1], x.dtype)] * 3),
        )
        return metrics_of(nearest if self.shard is None else nearest_of_all(nearest))

    def _check_batch(self, embeddings: Any, labels: Any = None) -> tuple[Any, Any]:
        """Return embeddings and labels as tensors; raise unless they are what the head takes."""
        embeddings = as_tensor(embeddings)
        labels = None if labels is None else as_tensor(labels)
        check_call(
            embeddings.shape,
            embeddings.shape[:1] if labels is None else labels.shape,
            integer_labels=labels is None or keras.backend.is_int_dtype(labels.dtype),
            embedding_size=self.embedding_size,
        )
        if labels is not None and tf.executing_eagerly() and isinstance(labels, tf.Tensor):
            smallest, largest = tf.reduce_min(labels), tf.reduce_max(labels)
            check_labels(int(smallest), int(largest), self.num_classes)
        return embeddings, labels

    def _in_range(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels, in a graph after a check that they are in range, and which are."""
        labels = tf.cast(labels, tf.int64)
        inside = (labels >= 0) & (labels < self.num_classes)
        if not tf.executing_eagerly():
            labels = _require(inside, labels, self.num_classes)
        return labels, inside

    def _wide(self, embeddings: Tensor) -> Tensor:
        """Return embeddings in the type of the computation.

        Angles need float32: half precision cannot tell cosines near 1 apart.
        """
        kinds = embeddings.dtype.name, "float32", self.weight.dtype
        return tf.cast(embeddings, keras.backend.result_type(*kinds))

    def _inputs(
        self, embeddings: Tensor, labels: Tensor, sample: Tensors
    ) -> tuple[Tensor, Tensor, Tensor, PassInputs]:
        """Begin a pass: embeddings as the loss takes them, norms, everybody's norms, the rest."""
        x = self._wide(embeddings)
        units, norms = unit_vectors(x)
        all_norms = norms
        if self.shard is not None:  # every process sees the whole batch
            labels, x = gather(labels), embeddings_of_all(x, self.shard)
            units, all_norms = unit_vectors(x)
        x = units if self.loss.normalized else x
        return x, norms, all_norms, self._pass_inputs(labels, sample, x)

    def _recalled(
        self, inputs: PassInputs, *, everybody: bool
    ) -> tuple[PassInputs, Tensor, dict[str, Tensor]]:
        """Return a pass with what the loss recalls of its classes; the samples' own, their numbers.

        The numbers are those that the loss keeps for these classes, one for each.
        """
        kept = self._class_state
        if kept is None:
            return inputs, inputs.labels, {}
        kept.settle()
        if has_memories(self._ops) and self._companion is None:
            state = {name: tf.convert_to_tensor(value) for name, value in self.state.items()}
            inputs = replace(inputs, memories=Memories(self._ops, kept, state))
        target = TargetClasses(self.loss, inputs.plan, inputs.labels)
        classes = target.places
        if inputs.sampled is not None:
            classes = tf.cast(tf.gather(inputs.sampled, classes), tf.int64)
        classes = tf.where(target.here, classes, -1)
        return inputs, classes, kept.own_numbers(classes, everybody=everybody)

    def _pair_losses(
        self,
        companion: LossOps[MarginLoss],
        units: Tensor,
        parameters: Parameters | Update,
        inputs: PassInputs,
    ) -> Tensor:
        """Return the companion's loss of each of this process's samples."""
        state = {name: tf.convert_to_tensor(value) for name, value in self.state.items()}
        memory = Memories(self._ops, self._class_state, state).of(inputs.sampled)
        bias = parameters.bias
        return companion_losses(companion, units, memory, bias, inputs, self.shard)

    def _learned_margins(
        self,
        step: PreparedStep,
        parameters: Parameters | Update,
        inputs: PassInputs,
        dtype: tf.DType,
        *,
        learning: bool,
    ) -> tuple[PreparedStep, Tensor | float]:
        """Return the step with the samples' learned margins, and the pull on them all."""
        pull = self.loss.margin_pull
        if self.bias is None or pull is None:
            return step, 0.0
        if learning:
            self.bias.assign(tf.clip_by_value(self.bias, 0, 1))
        own, mean = class_margins(parameters, inputs, self.shard, dtype)
        return step._replace(own={**step.own, "margin": own}), pull * (1 - mean)

    def _of_logits(self, parameters: Parameters | Update) -> Parameters | Update:
        """Return parameters without a bias that is no part of the classes' logits."""
        if isinstance(parameters, Parameters) and self.loss.bias_apart:
            return parameters._replace(bias=None)
        return parameters

    def _check_replicas(self, *, learning: bool) -> None:
        """Raise unless as many processes run as the head is made for."""
        if self.shard is not None:
            check_processes(self.shard)
        elif self.update is not None and learning and replicas() > 1:
            raise MarginfaceError(UPDATE_APART)

    def _terms(
        self,
        embeddings: Tensor,
        norms: Tensor | None,
        parameters: Parameters | Update,
        inputs: PassInputs,
    ) -> Terms:
        """Return the terms of this process's samples, over the classes of all processes."""
        terms = class_terms(embeddings, norms, self._of_logits(parameters), inputs)
        return terms if self.shard is None else combine(terms, self.shard, self.loss.adds)

    def _target_logits(self, terms: Terms, norms: Tensor, step: PreparedStep) -> Tensor:
        """Return the logits of this process's samples' own classes [batch], with the margin."""
        counted = tf.unstack(terms.tally, len(self.loss.tallies))
        tally = dict(zip(self.loss.tallies, counted, strict=True))
        target = self._ops.target(terms.cosines, norms, {**step.own, **tally})
        check_logits(self.loss.name, "target", target, terms.cosines)
        return self._logits(target, norms, terms.bias, step.radius)

    def _logits(
        self, values: Tensor, norms: Tensor, bias: Tensor | float, radius: Tensor | float
    ) -> Tensor:
        """Return logits of cosines, or of values with a margin: scaled, with bias and limit."""
        logits = values * radius
        if self.loss.norm_scaled:
            logits *= norms
        logits += bias
        limit = self.loss.logit_limit
        return logits if limit is None else tf.clip_by_value(logits, -limit, limit)

    def _parameters(self, *, learning: bool) -> Parameters | Update:
        """Return class weights and bias, or the in-backward update of them."""
        shared = self._one_bias and self.shard is not None
        if self.update is None:
            bias = None if self.bias is None else tf.convert_to_tensor(self.bias)
            bias = added_gradient(bias) if shared else bias
            return Parameters(tf.convert_to_tensor(self.weight), bias)
        values = {name: variable.value for name, variable in self._stepped().items()}
        slots = {
            slot: {name: variable.value for name, variable in getattr(self, slot).items()}
            for slot in self._slots
        }
        return Update(
            self.update,
            values,
            slots,
            self._settings,
            tf.identity(self._settings.steps),
            tf.convert_to_tensor(self._anchor),
            learning=learning and self.trainable,
            one_bias=self._one_bias,
            shared_bias=shared,
            bias_apart=self.loss.bias_apart,
        )

    def draw(self, rng: np.random.Generator, labels: NDArray[Any]) -> dict[str, Tensor]:
        """Draw all that a call on a batch with these labels [batch] takes: margins and classes."""
        draw = draw_step(self.loss, rng, labels, self.num_classes, self.sample_rate, self.sampling)
        draw = own_draw(draw, self.loss, self.shard)
        return {name: tf.constant(value) for name, value in draw.items()}

    def _pass_inputs(self, labels: Tensor, sample: Tensors, x: Tensor) -> PassInputs:
        """Build the inputs of a pass over this process's classes; `prepared` comes later."""
        batch = x.shape[0]
        if sample:
            local = local_classes(sample, labels, self.classes, self.num_classes, batch)
        else:
            local = LocalClasses(len(self.classes), labels - self.classes.start)
        plan = self.plan(batch or USUAL_BATCH, x.dtype.size, local.number)
        inputs = PassInputs(self._ops, {}, self.loss.scale, plan, *local[1:])
        return replace(inputs, interclass_filter=self.interclass_filter)

    def _stepped(self) -> dict[str, Any]:
        """Return the variables that `update` steps."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def plan(self, batch: int, itemsize: int = 4, classes: int | None = None) -> HeadPlan:
        """Plan the computation of a batch: its blocks and its memory. The plan prints as text.

        Args:
            batch: embeddings.
            itemsize: bytes of a logit.
            classes: number of classes that it looks at; for None as many as it samples in training.
        """
        if classes is None:
            classes = max(1, int(self.sample_rate * len(self.classes)))
        # XLA cannot keep logits where the gradient will be. A quarter of the gradient's memory more
        # saves one of four products.
        gradient = 0 if self.update is not None else classes * self.embedding_size * itemsize
        return plan_head(
            batch,
            classes,
            itemsize=itemsize,
            block_logits=BLOCK_LOGITS,
            block=self.block,
            centers=self.loss.num_centers,
            precision=self.precision,
            kept_bytes=gradient // 4,
            ahead=self.loss.looks_ahead,
            companion=self._companion is not None,
            class_state=sum(
                math.prod(each.shape) * tf.as_dtype(each.dtype).size
                for each in self.class_state.values()
            ),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that there is to save, of all classes, as NumPy arrays.

        `weight`, `bias`, `state.<name>`, `class_state.<name>`, and `momentum.<name>` or what else
        `update` carries; how many processes share the classes changes neither names nor shapes.
        With shards, all processes call it together, in the scope of their strategy.
        """
        saved = self.saved().items()
        return {n: np.array(tf.convert_to_tensor(self.whole(n, v))) for n, v in saved}

    def load_arrays(self, arrays: Mapping[str, ArraySource]) -> None:
        """Set what `arrays` returns; of a shard, its part of it."""
        values = {
            name: self._own(arrays, name, variable) for name, variable in self.saved().items()
        }
        self.before_loading(values)
        for name, variable in self.saved().items():
            variable.assign(values[name])

    def load_weight(self, weight: ArraySource) -> None:
        """Set the weights alone, of all classes; of a shard, its part of them."""
        self.weight.assign(self._own({"weight": weight}, "weight", self.weight))

    def _own(self, arrays: Mapping[str, ArraySource], name: str, variable: Any) -> NDArray[Any]:
        return own_rows(arrays, name, variable.shape, self.rows(name), self.shard)

    def saved(self) -> dict[str, Any]:
        """Return this process's part of what `arrays` returns, in place."""
        self._settle()
        state = {f"state.{name}": variable for name, variable in self.state.items()}
        state |= {f"class_state.{name}": variable for name, variable in self.class_state.items()}
        slots = {
            f"{slot}.{name}": variable
            for slot in self._slots
            for name, variable in getattr(self, slot).items()
        }
        return self._stepped() | state | slots

    def before_loading(self, names: Iterable[str]) -> None:
        """Write what a step left; where arrays of the loss come, drop what calls to the next did.

        Args:
            names: those of `saved` that are loaded then. With the loss's state or rows an optimizer
                step begins anew for the head; gradients that were added up are the optimizer's.
        """
        self._settle()
        if any(name.startswith(("state.", "class_state.")) for name in names):
            if self._class_state is not None:
                self._class_state.forget()
            for variable in [] if self._calls is None else [self._calls, *self._sums.values()]:
                variable.assign(tf.zeros_like(variable.value))

    def carried(self) -> dict[str, Any]:
        """Return what the loss carries, in place: its state, and the rows of its classes."""
        self._settle()
        return self.state | self.class_state

    def save_own_variables(self, store: Any) -> None:
        """Save the variables, as Keras asks for it."""
        self._settle()
        super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        """Set the variables, as Keras asks for it; there is no part of them."""
        self._settle()
        super().load_own_variables(store)
        self.before_loading(self.saved())

    def _settle(self) -> None:
        """Let what a step left to its classes be written."""
        if self._class_state is not None:
            self._class_state.settle()

    def rows(self, name: str) -> list[range]:
        """Return each shard's rows of what `arrays` names; nothing where all have all."""
        return shard_rows(self.loss, self.num_classes, self.shard, name)

    def whole(self, name: str, value: Any) -> Tensor:
        """Gather what has the rows of what `arrays` names; all processes call it together."""
        if self.shard is None or not self.rows(name):
            return tf.convert_to_tensor(value)
        check_processes(self.shard)
        gathered: Tensor = self._gather(name, tf.convert_to_tensor(value))
        return gathered

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which `from_config` makes a head with new weights."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "loss": {"name": self.loss.name, **asdict(self.loss)},
            "embedding_size": self.embedding_size,
            "num_classes": self.num_classes,
            "accumulation": self.accumulation,
            "block": self.block,
            "update": self.update and {"name": self.update.name, **asdict(self.update)},
            "sample_rate": self.sample_rate,
            "sampling": self.sampling,
            "precision": self.precision,
            "interclass_filter": self.interclass_filter,
            "shard": None if self.shard is None else asdict(self.shard),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a head from its configuration, with new weights."""
        parameters = dict(config["loss"])
        made = {
            "loss": losses.get(parameters.pop("name"), **parameters),
            "update": config["update"] and _optimizer(**config["update"]),
            "shard": config["shard"] and Shard(**config["shard"]),
        }
        return cls(**config | made)


def _optimizer(*, name: str = "sgd", **hyperparameters: Any) -> Optimizer:
    """Return an optimizer from its configuration; in those of earlier versions it has no name."""
    return OPTIMIZERS[name](**hyperparameters)


def _require(inside: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return labels, after a check that all are inside the range."""
    message = f"a label is out of range for {classes} classes; expected 0 to {classes - 1}; got"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(inside), [message, labels])]):
        return tf.identity(labels)


def _cast(values: Tensors, dtype: str) -> dict[str, Tensor]:
    """Bring the floating-point ones of named tensors to the computation's type."""
    tensors = {name: tf.convert_to_tensor(value) for name, value in values.items()}
    return {name: tf.cast(v, dtype) if v.dtype.is_floating else v for name, v in tensors.items()}
