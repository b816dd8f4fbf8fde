"""What a loss keeps for each class, and the class vectors that it makes of that.

The order of events, beside that of `passes`:

    head.call, in training
      ClassState.settle                  write what the step before left to its classes
      Memories                           the loss recalls shares and vectors of a block's classes
        | v = (1 - l) w + l |w| q        in place of w, in both passes: `mix`
        | d_w = (1 - l) d_v + l (q . d_v) w / |w|      `unmix`; q gets none
      ClassState.leave                   the step's own samples wait: the backward pass comes first
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface.heads import MOVED, recalled
from marginface.losses import MIN_NORM, MarginLoss, Memory, Sample
from marginface_tf.losses.base import LossOps, Tensors
from marginface_tf.processes import add_up, gather, replicas


class ClassState(tf.Module):
    """The rows that a loss keeps for this process's classes: variables, by the loss's names.

    What a training step leaves to its classes is written when the next one begins, or before they
    are saved: the backward pass reads them as they were. It waits in variables, so that graphs of
    any batch read it; none is saved.

    Args:
        ops: the loss.
        rows: variables of the head, by name.
        state: of the loss, variables of the head.
        embedding_size: of the head.
        dtype: of rows with a point.
        calls: to one optimizer step, after which the rows move.
        alone: whether all classes are here.
    """

    def __init__(
        self,
        ops: LossOps[MarginLoss],
        rows: Mapping[str, Any],
        state: Mapping[str, Any],
        embedding_size: int,
        dtype: tf.DType,
        calls: int,
        *,
        alone: bool,
    ) -> None:
        super().__init__()
        self._ops, self._rows, self._state = ops, rows, state
        self._calls, self._alone = calls, alone
        self._classes = _waiting([], tf.int64)
        self._samples = Sample(*(_waiting(row, dtype) for row in ([embedding_size], [], [])))
        self._waiting_calls = _variable(tf.constant(0))
        self._moves = _variable(tf.constant(0, tf.int64))

    def rows(self, classes: Tensor | None) -> dict[str, Tensor]:
        """Return some classes' rows, or all."""
        return {
            # A variable's rows alone: a Keras variable would be read, and copied, whole.
            name: tf.convert_to_tensor(value)
            if classes is None
            else tf.gather(value.value, classes)
            for name, value in self._rows.items()
        }

    def own_numbers(self, classes: Tensor, *, everybody: bool) -> dict[str, Tensor]:
        """Return what is one number a class, of the samples' own classes, [batch].

        Args:
            classes: of the samples, [batch]; -1 for those that are elsewhere.
            everybody: whether all processes have samples of their own here.
        """
        found = self.rows(tf.maximum(classes, 0))
        numbers = {name: value for name, value in found.items() if value.shape.rank == 1}
        if not self._alone:  # a class is in one shard
            zero_elsewhere = {
                n: tf.where(classes < 0, tf.zeros_like(v), v) for n, v in numbers.items()
            }
            return {name: add_up(value) for name, value in zero_elsewhere.items()}
        return {name: gather(value) if everybody else value for name, value in numbers.items()}

    def leave(self, classes: Tensor, samples: Sample, *, everybody: bool) -> None:
        """Leave a call's samples to their classes.

        Args:
            classes: of the samples, [batch]; -1 for those that are elsewhere.
            samples: what the call knows of them.
            everybody: whether all processes have samples of their own here.
        """
        several = everybody or not self._alone
        order = _order_of_batch(classes, everybody=everybody) if several else None
        for waiting, each in zip((self._classes, *self._samples), (classes, *samples), strict=True):
            given = tf.cast(tf.stop_gradient(each), waiting.dtype)
            given = gather(given) if everybody else given
            given = given if order is None else tf.gather(given, order)
            waiting.assign(tf.concat([waiting, given], 0))
        self._waiting_calls.assign_add(1)

    def settle(self) -> None:
        """Write what a whole optimizer step left."""
        due = self._waiting_calls >= self._calls
        number = tf.where(due, tf.shape(self._classes)[0], 0)
        classes, *samples = (each[:number] for each in (self._classes, *self._samples))
        # A class may be elsewhere; and a memory that is no number would spoil every later step.
        left = Sample(*samples)
        finite = tf.reduce_all(tf.math.is_finite(left.embedding), 1) & tf.math.is_finite(left.norm)
        here = (classes >= 0) & finite
        classes, *samples = (tf.boolean_mask(each, here) for each in (classes, *samples))
        # The last sample of each class, for all of its samples: they then write the same.
        order = tf.argsort(classes, stable=True)
        ordered = tf.gather(classes, order)
        last = tf.gather(order, tf.searchsorted(ordered, ordered, side="right") - 1)
        of_class = Sample(*(tf.gather(each, last) for each in samples))
        state = {name: tf.convert_to_tensor(value) for name, value in self._state.items()}
        rows = self._ops.remember(self.rows(ordered), of_class, state)
        for name, variable in self._rows.items():
            slices = tf.IndexedSlices(tf.cast(rows[name], variable.dtype), ordered)
            variable.value.scatter_update(slices)
        self._keep(number)

    def forget(self) -> None:
        """Drop what waits: the rows are about to move."""
        self._moves.assign_add(1)
        self._keep(tf.shape(self._classes)[0])

    def hold(self, loss: Tensor) -> Tensor:
        """Return a loss whose backward pass refuses rows that have moved since its call.

        It is for a pass that reads them again on its way back; others have them as they were.

        Raises:
            MarginfaceError: in the backward pass, before anything is stepped; in a graph,
                TensorFlow's InvalidArgumentError. XLA cannot raise: gradients are NaN.
        """
        moves = tf.identity(self._moves)

        @tf.custom_gradient
        def held(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            def gradient(d_loss: Tensor) -> Tensor:
                moved = self._moves.read_value() != moves
                if tf.executing_eagerly():
                    if moved:
                        raise MarginfaceError(MOVED)
                    return d_loss
                with tf.control_dependencies([tf.debugging.Assert(~moved, [MOVED])]):
                    return tf.where(moved, tf.constant(math.nan, d_loss.dtype), d_loss)

            return tf.identity(value), gradient

        return held(loss)

    def _keep(self, first: Tensor) -> None:
        """Let wait what comes from `first` on; what came before moves the rows."""
        self._moves.assign_add(tf.cast(first > 0, tf.int64))
        for waiting in (self._classes, *self._samples):
            waiting.assign(waiting[first:])
        calls = self._waiting_calls
        calls.assign(tf.where(tf.shape(self._classes)[0] > 0, calls, tf.zeros_like(calls)))


def _order_of_batch(classes: Tensor, *, everybody: bool) -> Tensor:
    """Return the order that brings samples of one process after the other into the batch's."""
    size, places = replicas(), tf.range(tf.shape(classes)[0])
    if everybody:  # the last batch of an epoch may differ in size
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.argsort(gather(places * size + rank))
    share = tf.shape(classes)[0] // size
    return tf.argsort(places % share * size + places // share)


def _waiting(row: list[int], dtype: tf.DType) -> Any:
    """Return a variable for any number of rows, without one."""
    return _variable(tf.zeros([0, *row], dtype), shape=[None, *row])


def _variable(value: Tensor, **options: Any) -> Any:
    # Every replica computes the same from the whole batch.
    first = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, trainable=False, aggregation=first, **options)


class Memories:
    """What a loss recalls of the classes of a pass, the same in its forward and backward part.

    Args:
        ops: the loss.
        class_state: its rows.
        state: of the loss, before the step.
    """

    def __init__(self, ops: LossOps[MarginLoss], class_state: ClassState, state: Tensors) -> None:
        self._ops, self._rows, self._state = ops, class_state, state

    def of(self, classes: Tensor | None) -> Memory:
        """Return shares and vectors of some classes, or of all.

        Raises:
            MarginfaceError: the loss recalls nothing.
        """
        return recalled(self._ops.spec, self._ops.recall(self._rows.rows(classes), self._state))


def mix(w: Tensor, memory: Memory | None) -> Tensor:
    """Return vectors in the direction of (1 - share) w / |w| + share q: that times |w|.

    Args:
        w: [classes, embedding_size].
        memory: of these classes; None leaves the weights as they are.
    """
    if memory is None:
        return w
    # The root's slope at 0 is infinite: a weight without a direction does not reach it.
    norms = tf.sqrt(tf.maximum(tf.reduce_sum(w * w, 1, keepdims=True), MIN_NORM**2))
    share, vectors = (tf.cast(each, w.dtype) for each in memory)
    return w + share[:, None] * (vectors * norms - w)


def unmix(d_vectors: Tensor, w: Tensor, memory: Memory | None) -> Tensor:
    """Return the gradient of the weights from that of what `mix` made of them."""
    if memory is None:
        return d_vectors
    share, vectors = (tf.cast(each, w.dtype) for each in memory)
    along = share * tf.reduce_sum(d_vectors * vectors, 1) / tf.maximum(tf.norm(w, axis=1), MIN_NORM)
    return d_vectors * (1 - share)[:, None] + w * along[:, None]


def has_memories(ops: LossOps[MarginLoss]) -> bool:
    """Say if a loss makes class vectors of what it keeps."""
    return type(ops).recall is not LossOps.recall
