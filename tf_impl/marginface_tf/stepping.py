"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface.heads import HeadPlan
from marginface.training.optimizers import SGD
from marginface_tf.blocks import Block, Own, Parameters, Slopes, rows_of
from marginface_tf.passes import Carried
from marginface_tf.processes import add_up, gather


@dataclass(frozen=True)
class Update:
    """Parameters that a step changes where they lie; nothing else may read them.

    For TensorFlow copies the whole of a variable that is once read in parts, whenever it is read.

    Args:
        spec: momentum and weight decay.
        values: `weight` and maybe `bias`.
        velocities: their momentum.
        rate: the learning rate; None until somebody sets one.
        learning: whether the backward pass steps.
        together: whether all processes have the one bias of all classes.
    """

    spec: SGD
    values: Mapping[str, Any]
    velocities: Mapping[str, Any]
    rate: Any
    learning: bool
    together: bool

    def read(self, name: str, rows: Tensor) -> Tensor:
        """Return rows."""
        return tf.gather(self.values[name], rows)

    def stepped(
        self, name: str, rows: Tensor, value: Tensor, gradient: Tensor, *, compiled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return what rows that have these values are to be, and their momentum.

        v <- momentum v + gradient + decay w, w <- w - rate v.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        if self.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        dtype = keras.backend.result_type(gradient.dtype.name, "float32")
        # tf.cast would take a float through float32.
        rate = (tf.cast if tf.is_tensor(self.rate) else tf.constant)(self.rate, dtype)
        velocity = tf.gather(self.velocities[name], rows)
        decay = self.spec.decay_for(self.values[name].shape.rank)
        step = _compiled_step if compiled else _step
        value, velocity = step(self.spec.momentum, decay, rate, value, velocity, gradient)
        return narrow(value, self.values[name].dtype), velocity

    def write(self, name: str, rows: Tensor, value: Tensor, velocity: Tensor) -> None:
        """Set rows and their momentum."""
        self.values[name].scatter_nd_update(rows[:, None], value)
        self.velocities[name].scatter_nd_update(rows[:, None], velocity)


def _step(
    momentum: float, decay: float, rate: Tensor, value: Tensor, velocity: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    wide = tf.cast(value, rate.dtype)
    moved = momentum * tf.cast(velocity, rate.dtype) + tf.cast(gradient, rate.dtype) + decay * wide
    return wide - rate * moved, tf.cast(moved, velocity.dtype)


# What takes five passes over a block otherwise takes one.
_compiled_step = tf.function(_step, jit_compile=True, autograph=False)


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

    def start(self, dtype: tf.DType) -> Carried:
        """Return the gradient of a bias of all classes."""
        return (tf.zeros([1 if self._one_bias() else 0], dtype),)

    def put(self, k: Tensor, part: Parameters, found: Slopes, carried: Carried) -> Carried:
        """Step the block's rows, but for those that the next one has, too."""
        (d_bias,) = carried
        if self.update.learning:
            block = Block(k, self.plan)
            stop = block.size
            if self.used is not None:
                stop = tf.clip_by_value(tf.cast(self.used, tf.int32) - block.start, 0, stop)
            own = tf.minimum(block.repeated, stop), stop
            numbers = self._numbers(block.start + tf.range(block.size))
            self._step("weight", rows_of(numbers, self.centers), part, found, own, self.centers)
            if part.bias is not None and not self._one_bias():
                self._step("bias", numbers, part, found, own, 1)
        return (d_bias + found.bias if self._one_bias() else d_bias,)

    def _step(
        self,
        name: str,
        rows: Tensor,
        part: Parameters,
        found: Slopes,
        own: tuple[Any, Any],
        each: int,
    ) -> None:
        """Step the block's rows, of which some are its own, `each` for a class."""
        value, gradient = getattr(part, name), getattr(found, name)
        stepped = self.update.stepped(name, rows, value, gradient, compiled=self.plan.blocks > 1)
        first, stop = (number * each for number in own)
        self.update.write(name, *(values[first:stop] for values in (rows, *stepped)))

    def finish(self, carried: Carried) -> dict[str, Tensor]:
        """Step the bias of all classes; nothing is left."""
        if self._one_bias() and self.update.learning:
            (d_bias,), row = carried, tf.constant([0])
            together = self.update.together
            d_bias = add_up(d_bias) if together else d_bias
            value = self.update.read("bias", row)
            value, velocity = self.update.stepped("bias", row, value, d_bias)
            # bfloat16 would be rounded another way by each process.
            self.update.write("bias", row, gather(value)[:1] if together else value, velocity)
        return {}

    def _one_bias(self) -> bool:
        bias = self.update.values.get("bias")
        return bias is not None and self.update.values["weight"].shape[0] != bias.shape[0]

    def _numbers(self, places: Tensor) -> Tensor:
        return places if self.sampled is None else tf.gather(self.sampled, places)

    def _read(self, numbers: Tensor) -> Parameters:
        bias = None
        if "bias" in self.update.values:
            bias = self.update.read("bias", tf.constant([0]) if self._one_bias() else numbers)
        return Parameters(self.update.read("weight", rows_of(numbers, self.centers)), bias)


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
