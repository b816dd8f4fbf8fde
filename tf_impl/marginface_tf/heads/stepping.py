"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface.heads import MAX_UPSTREAM, ONCE, SCALED, HeadPlan, check_upstream
from marginface.optimizers import SGD
from marginface_tf.heads.blocks import Block, Own, Parameters, Slopes, Terms, rows_of
from marginface_tf.heads.passes import Carried, Done, after
from marginface_tf.processes import add_up, gather

REFUSED = -1  # turns from when XLA, which cannot raise, met a step that is refused


@dataclass(frozen=True)
class Update:
    """Parameters that the backward pass steps where they lie.

    Once rows of a variable were read, TensorFlow copies it whole for whoever reads it whole.

    Args:
        spec: momentum and weight decay.
        values: `weight` and maybe `bias`.
        velocities: their momentum.
        rate: the learning rate, a variable; None until somebody sets one.
        loss_scale: what the loss is multiplied by before the backward pass, a variable; 0 for
            nothing.
        turns: how often they were stepped, a variable; `REFUSED` when they must not be any more.
        turn: what it was when the forward pass began.
        anchor: what asks for the backward pass where nothing else does; it has no elements.
        learning: whether the backward pass steps.
        one_bias: whether one bias is for all classes.
        together: whether that is so in several processes.
    """

    spec: SGD
    values: Mapping[str, Any]
    velocities: Mapping[str, Any]
    rate: Any
    loss_scale: Any
    turns: Any
    turn: Tensor
    anchor: Tensor
    learning: bool
    one_bias: bool
    together: bool

    def check(self, upstream: Tensor) -> Tensor:
        """Return the gradient of the loss, which whoever takes it gets when it was checked.

        Raises:
            MarginfaceError: it is that of a scaled loss, and nobody said so; in a graph,
                TensorFlow's InvalidArgumentError.
        """
        scale = tf.cast(self.loss_scale.read_value(), upstream.dtype)
        if tf.executing_eagerly():
            check_upstream(float(upstream), float(scale) or None)
            return upstream
        share = tf.abs(upstream) / tf.where(scale > 0, scale, tf.ones_like(scale))
        scaled = (share > MAX_UPSTREAM) & ~((scale > 0) & tf.math.is_inf(share))
        said = [SCALED, upstream, "with loss_scale", scale]
        with tf.control_dependencies([tf.debugging.Assert(~scaled, said)]):
            turns = self.turns.read_value()
            turns = tf.where(scaled, tf.constant(REFUSED, turns.dtype), turns)
            return after(_done(self.turns.assign(turns)), upstream)

    def begin(self) -> tuple[Tensor, Done]:
        """Begin a step; return whether it may be taken, and what must have been done for that.

        Raises:
            MarginfaceError: the parameters were stepped since the forward pass; in a graph,
                TensorFlow's InvalidArgumentError.
        """
        now = self.turns.read_value()
        if tf.executing_eagerly() and int(now) != int(self.turn):
            raise MarginfaceError(ONCE)
        with tf.control_dependencies([tf.debugging.assert_equal(now, self.turn, ONCE)]):
            may = (now == self.turn) & (now != REFUSED)
            after_it = tf.where(may, now + 1, tf.constant(REFUSED, now.dtype))
            return may, _done(self.turns.assign(after_it))

    def read(self, name: str, rows: Tensor) -> Tensor:
        """Return rows."""
        return tf.gather(self.values[name], rows)

    def stepped(
        self,
        name: str,
        rows: Tensor,
        value: Tensor,
        gradient: Tensor,
        may: Tensor,
        *,
        compiled: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return what rows that have these values are to be, and their momentum.

        v <- momentum v + gradient / loss_scale + decay w, w <- w - rate v, where they may move.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        if self.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        dtype = keras.backend.result_type(gradient.dtype.name, "float32")
        rate, scale = tf.cast(self.rate, dtype), tf.cast(self.loss_scale, dtype)
        scale = tf.where(scale > 0, scale, tf.ones_like(scale))
        velocity = tf.gather(self.velocities[name], rows)
        decay = self.spec.decay_for(decay=name == "weight")
        step = _compiled_step() if compiled else _step
        value, velocity = step(
            self.spec.momentum, decay, rate, scale, may, value, velocity, gradient
        )
        return narrow(value, self.values[name].dtype), velocity

    def write(self, name: str, rows: Tensor, value: Tensor, velocity: Tensor) -> Done:
        """Set rows and their momentum; return what must have been done for that."""
        return _done(
            self.values[name].scatter_nd_update(rows[:, None], value),
            self.velocities[name].scatter_nd_update(rows[:, None], velocity),
        )


def _done(*written: Any) -> Done:
    """Return the operations of assignments, in a graph."""
    return [] if tf.executing_eagerly() else [each.op for each in written]


def _step(
    momentum: float,
    decay: float,
    rate: Tensor,
    scale: Tensor,
    may: Tensor,
    value: Tensor,
    velocity: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, Tensor]:
    wide, gradient = tf.cast(value, rate.dtype), tf.cast(gradient, rate.dtype) / scale
    moved = momentum * tf.cast(velocity, rate.dtype) + gradient + decay * wide
    velocity = tf.where(may, tf.cast(moved, velocity.dtype), velocity)
    return tf.where(may, wide - rate * moved, wide), velocity


@lru_cache
def _compiled_step() -> Any:
    """Return it as a program that goes over a block once, instead of five times."""
    return tf.function(_step, jit_compile=True, autograph=False)


class Stepped:
    """The source of a pass over parameters that an update steps.

    Args:
        update: the parameters.
        plan: the blocks.
        centers: rows of weights for each class.
        sampled: numbers of the classes that the plan is for; None for all.
        used: how many of them, the first, are to be stepped; None for all.
    """

    def __init__(
        self,
        update: Update,
        plan: HeadPlan,
        centers: int,
        sampled: Tensor | None,
        used: Tensor | None,
    ) -> None:
        self.update, self.plan, self.centers = update, plan, centers
        self.sampled, self.used = sampled, used

    def part(self, k: Tensor) -> Parameters:
        """Return the block's rows."""
        block = Block(k, self.plan)
        return self._read(self._numbers(block.start + tf.range(block.size)))

    def own(self, own: Own) -> Parameters:
        """Return the samples' rows."""
        return self._read(self._numbers(own.labels))

    def start(self, left: Tensor, upstream: Terms) -> tuple[Carried, Done]:
        """Begin a step; return the gradient of the one bias, and whether anything may move."""
        may, done = self.update.begin() if self.update.learning else (tf.constant(False), [])
        # What is no number would make all weights none.
        may &= tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in (left, *upstream)])
        return (tf.zeros([1 if self.update.one_bias else 0], left.dtype), may), done

    def put(
        self, k: Tensor, part: Parameters, found: Slopes, carried: Carried
    ) -> tuple[Carried, Done]:
        """Step the block's rows, but for those that the next one has, too."""
        (d_bias, may), done = carried, []
        if self.update.learning:
            block = Block(k, self.plan)
            stop = block.size
            if self.used is not None:
                stop = tf.clip_by_value(tf.cast(self.used, tf.int32) - block.start, 0, stop)
            own = tf.minimum(block.repeated, stop), stop
            numbers = self._numbers(block.start + tf.range(block.size))
            rows = rows_of(numbers, self.centers)
            done += self._step("weight", rows, part, found, may, own, self.centers)
            if part.bias is not None and not self.update.one_bias:
                done += self._step("bias", numbers, part, found, may, own, 1)
        return (d_bias + found.bias if self.update.one_bias else d_bias, may), done

    def _step(
        self,
        name: str,
        rows: Tensor,
        part: Parameters,
        found: Slopes,
        may: Tensor,
        own: tuple[Any, Any],
        each: int,
    ) -> Done:
        """Step the block's rows, of which some are its own, `each` for a class."""
        value, gradient = getattr(part, name), getattr(found, name)
        compiled = self.plan.blocks > 1
        stepped = self.update.stepped(name, rows, value, gradient, may, compiled=compiled)
        first, stop = (number * each for number in own)
        return self.update.write(name, *(values[first:stop] for values in (rows, *stepped)))

    def finish(self, carried: Carried) -> tuple[dict[str, Tensor], Done]:
        """Step the one bias of all classes; all else is done."""
        (d_bias, may), done = carried, []
        if self.update.one_bias and self.update.learning:
            row = tf.constant([0])
            together = self.update.together
            d_bias = add_up(d_bias) if together else d_bias
            value = self.update.read("bias", row)
            value, velocity = self.update.stepped("bias", row, value, d_bias, may)
            # bfloat16 would be rounded another way by each process.
            value = gather(value)[:1] if together else value
            done = self.update.write("bias", row, value, velocity)
        return {}, done

    def _numbers(self, places: Tensor) -> Tensor:
        found = places if self.sampled is None else tf.gather(self.sampled, places)
        return tf.cast(found, tf.int64)

    def _read(self, numbers: Tensor) -> Parameters:
        bias = None
        if "bias" in self.update.values:
            bias = self.update.read("bias", tf.constant([0]) if self.update.one_bias else numbers)
        return Parameters(self.update.read("weight", rows_of(numbers, self.centers)), bias)


def checked(loss: Tensor, update: Update) -> Tensor:
    """Return the loss; before anything moves, its gradient is checked to be no scaled loss's."""

    @tf.custom_gradient
    def same(given: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return tf.identity(given), update.check

    return same(loss)


def narrow(values: Tensor, dtype: tf.DType) -> Tensor:
    """Return values in another type; in bfloat16 up or down at random, right on average.

    To the nearest, a step below 1/512 of a weight would be lost, each time anew.
    """
    if dtype != tf.bfloat16 or values.dtype != tf.float32:
        return tf.cast(values, dtype)
    bits = tf.bitcast(values, tf.int32)  # bfloat16 is the upper half
    bits += tf.random.uniform(tf.shape(bits), 0, 2**16, tf.int32)
    upper = tf.bitwise.bitwise_and(bits, -(2**16))
    return tf.cast(tf.bitcast(upper, tf.float32), dtype)
