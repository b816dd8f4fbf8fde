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

    def step(self, name: str, rows: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Step rows that have these values: v <- momentum v + gradient + decay w, w <- w - rate v.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        if self.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        values, velocities = self.values[name], self.velocities[name]
        wide = keras.backend.result_type(gradient.dtype.name, "float32")
        # tf.cast would take a float through float32.
        rate = (tf.cast if tf.is_tensor(self.rate) else tf.constant)(self.rate, wide)
        velocity, value = tf.cast(tf.gather(velocities, rows), wide), tf.cast(value, wide)
        decay = self.spec.decay_for(values.shape.rank)
        velocity = self.spec.momentum * velocity + tf.cast(gradient, wide) + decay * value
        value = narrow(value - rate * velocity, values.dtype)
        if name == "bias" and self.together:
            value = gather(value)[:1]  # each process would round it another way
        velocities.scatter_nd_update(rows[:, None], tf.cast(velocity, values.dtype))
        values.scatter_nd_update(rows[:, None], value)


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
        if self._one_bias():
            d_bias += found.bias
        if self.update.learning:
            block = Block(k, self.plan)
            stop = block.size
            if self.used is not None:
                stop = tf.clip_by_value(tf.cast(self.used, tf.int32) - block.start, 0, stop)
            first = tf.minimum(block.repeated, stop)
            numbers = self._numbers(block.start + tf.range(first, stop))
            rows = slice(first * self.centers, stop * self.centers)
            at = rows_of(numbers, self.centers)
            self.update.step("weight", at, part.weight[rows], found.weight[rows])
            if part.bias is not None and not self._one_bias():
                self.update.step("bias", numbers, part.bias[first:stop], found.bias[first:stop])
        return (d_bias,)

    def finish(self, carried: Carried) -> dict[str, Tensor]:
        """Step the bias of all classes; nothing is left."""
        if self._one_bias() and self.update.learning:
            (d_bias,) = carried
            d_bias = add_up(d_bias) if self.update.together else d_bias
            at = tf.constant([0])
            self.update.step("bias", at, self.update.read("bias", at), d_bias)
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
