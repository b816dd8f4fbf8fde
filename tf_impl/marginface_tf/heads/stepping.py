"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Real
from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from marginface.errors import MarginfaceError
from marginface.heads import (
    MAX_UPSTREAM,
    ONCE,
    SCALED,
    HeadPlan,
    check_learning_rate,
    check_loss_scale,
    check_upstream,
)
from marginface.optimizers import Optimizer
from marginface_tf.heads.blocks import (
    Block,
    BlockGradients,
    Parameters,
    TargetClasses,
    Terms,
    weight_rows,
)
from marginface_tf.heads.memory import Memories
from marginface_tf.heads.passes import LoopVars, Writes, after
from marginface_tf.heads.rounding import stochastic_round
from marginface_tf.heads.row_step import step_rows
from marginface_tf.losses.base import Tensors
from marginface_tf.processes import add_up, gather

# What is rounded to bfloat16 at random, as weights are: to the nearest, a small step would be lost.
AT_RANDOM = "second"
REFUSED = -1  # the count of steps after a refused one, for XLA, which cannot raise


class StepSettings(tf.Module):
    """Settings of a head that count when the backward pass comes, not when the loss is computed.

    They are variables, so that graphs read what is set later. None is saved.

    Attributes:
        rate: the learning rate; None until somebody sets one.
        loss_scale: the factor on the loss before the backward pass; None for none.
        scale: the same, 0 for none.
        steps: number of steps taken; `REFUSED` once there must be no more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = self.loss_scale = None
        self._rate = tf.Variable(0, trainable=False, dtype=tf.float64)
        self.scale = tf.Variable(0, trainable=False, dtype=tf.float64)
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    def set_rate(self, value: Any) -> None:
        """Set the learning rate.

        Raises:
            MarginfaceError: it is no finite number of at least 0; a graph does not see that.
        """
        if value is not None:
            self._rate.assign(_checked(value, check_learning_rate))
        self.rate = None if value is None else self._rate

    def set_loss_scale(self, value: Any) -> None:
        """Set the loss scale.

        Raises:
            MarginfaceError: it is no finite number above 0; a graph does not see that.
        """
        self.scale.assign(0 if value is None else _checked(value, check_loss_scale))
        self.loss_scale = None if value is None else self.scale


def _checked(value: Any, check: Callable[[Any], float]) -> Any:
    """Return a value for a float64 variable; a graph's is of no number yet."""
    if tf.executing_eagerly() or isinstance(value, Real):
        return check(value)
    return tf.cast(value, tf.float64)


@dataclass(frozen=True)
class Update:
    """The in-backward update: parameters that the backward pass steps where they lie.

    Rows alone are read and written. Whoever then reads a variable whole makes TensorFlow copy it.

    Args:
        spec: SGD or AdamW.
        values: `weight` and maybe `bias`.
        slots: what the optimizer carries for them, by slot, then by parameter.
        settings: the head's.
        steps_before: `settings.steps` when the forward pass began.
        anchor: asks for a backward pass where nothing else does; it has no elements.
        learning: whether the backward pass steps.
        one_bias: whether all classes share one bias.
        shared_bias: whether all processes have that one bias.
        bias_apart: whether the bias is no part of the classes' logits: a companion's, or margins.
    """

    spec: Optimizer
    values: Mapping[str, Any]
    slots: Mapping[str, Mapping[str, Any]]
    settings: StepSettings
    steps_before: Tensor
    anchor: Tensor
    learning: bool
    one_bias: bool
    shared_bias: bool
    bias_apart: bool = False

    def begin(self, d_loss: Tensor) -> Tensor:
        """Begin a step and count it; return the gradient of the loss once it was checked.

        A large one is a scaled loss's. What is refused has moved nothing.

        Raises:
            MarginfaceError: the parameters were stepped since the forward pass, or the loss was
                scaled, and `loss_scale` does not say so; in a graph, TensorFlow's
                InvalidArgumentError. There is no learning rate.
        """
        self._rate()
        scale = tf.cast(self.settings.scale.read_value(), d_loss.dtype)
        steps = self.settings.steps
        now = steps.read_value()
        if tf.executing_eagerly():
            if int(now) != int(self.steps_before):
                raise MarginfaceError(ONCE)
            check_upstream(float(d_loss), float(scale) or None)
            steps.assign_add(1)
            return d_loss
        share = tf.abs(d_loss) / tf.where(scale > 0, scale, tf.ones_like(scale))
        scaled = (share > MAX_UPSTREAM) & ~((scale > 0) & tf.math.is_inf(share))
        said = [SCALED, d_loss, "with loss_scale", scale]
        once = tf.debugging.assert_equal(now, self.steps_before, ONCE)
        with tf.control_dependencies([once, tf.debugging.Assert(~scaled, said)]):
            refused = scaled | (now != self.steps_before) | (now == REFUSED)
            counted = steps.assign(tf.where(refused, tf.constant(REFUSED, now.dtype), now + 1))
            return after(_writes(counted), d_loss)

    def _rate(self) -> Any:
        if self.settings.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        return self.settings.rate

    def may_step(self, *gradients: Tensor) -> Tensor:
        """Say if a step may be taken: it was not refused when it began, and all is finite."""
        finite = [tf.reduce_all(tf.math.is_finite(each)) for each in gradients]
        with tf.control_dependencies(finite):  # by then it has begun
            return tf.reduce_all(finite) & (self.settings.steps.read_value() != REFUSED)

    def read(self, name: str, rows: Tensor) -> Tensor:
        """Read rows of `weight` or `bias`."""
        return tf.gather(self.values[name], rows)

    def stepped(
        self,
        name: str,
        rows: Tensor,
        value: Tensor,
        gradient: Tensor,
        may_step: Tensor,
        *,
        compiled: bool = False,
    ) -> tuple[Tensor, Tensors]:
        """Compute a step by the gradient over the loss scale.

        Args:
            name: `weight` or `bias`.
            rows: which of it.
            value: of these rows.
            gradient: of the scaled loss, for these rows.
            may_step: if False, nothing moves.
            compiled: whether XLA computes it.

        Returns:
            the rows, and what the optimizer carries for them, after the step.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        dtype = keras.backend.result_type(gradient.dtype.name, "float32")
        rate, scale = tf.cast(self._rate(), dtype), tf.cast(self.settings.scale, dtype)
        scale = tf.where(scale > 0, scale, tf.ones_like(scale))
        slots: Tensors = {slot: tf.gather(each[name], rows) for slot, each in self.slots.items()}
        decay = self.spec.decay_for(decay=name == "weight")
        step = _compiled_step(self.spec) if compiled else partial(_step, self.spec)
        value, slots = step(decay, rate, scale, may_step, value, slots, gradient)
        if AT_RANDOM in slots:
            kept = self.slots[AT_RANDOM][name].dtype
            slots = {**slots, AT_RANDOM: stochastic_round(slots[AT_RANDOM], kept)}
        return stochastic_round(value, self.values[name].dtype), slots

    def write(self, name: str, rows: Tensor, value: Tensor, slots: Tensors) -> Writes:
        """Write rows, and what the optimizer carries for them; return the assignments."""
        written = [(self.values[name], value)]
        written += [(self.slots[slot][name], each) for slot, each in slots.items()]
        return _writes(
            *(
                variable.scatter_nd_update(rows[:, None], tf.cast(each, variable.dtype))
                for variable, each in written
            )
        )

    def step_one_bias(self, d_bias: Tensor, may_step: Tensor) -> Writes:
        """Step the one bias of all classes by its gradient [1]; return the assignments."""
        row = tf.constant([0])
        d_bias = add_up(d_bias) if self.shared_bias else d_bias
        value, slots = self.stepped("bias", row, self.read("bias", row), d_bias, may_step)
        if self.shared_bias:  # each process rounds bfloat16 another way
            value = gather(value)[:1]
            slots = {k: gather(each)[:1] if k == AT_RANDOM else each for k, each in slots.items()}
        return self.write("bias", row, value, slots)

    @property
    def bias(self) -> Tensor:
        """The one bias of a companion, which is stepped when its gradient is there."""

        @tf.custom_gradient
        def bias(anchor: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            def gradient(d_bias: Tensor) -> Tensor:
                may_step = self.may_step(d_bias)
                writes = self.step_one_bias(d_bias, may_step) if self.learning else []
                return after(writes, tf.zeros_like(anchor))

            return self.read("bias", tf.constant([0])), gradient

        return bias(self.anchor)

    def step_margins(self, rows: Tensor, value: Tensor, gradient: Tensor, of_all: Tensor) -> Writes:
        """Step rows of the bias where it is learned margins, in [0, 1]; return the assignments.

        Args:
            rows: of the bias.
            value: of these rows.
            gradient: likewise.
            of_all: the gradients of all processes' samples; no step where one is no number.
        """
        if not self.learning:
            return []
        may_step = self.may_step(gradient, of_all)
        value, slots = self.stepped("bias", rows, value, gradient, may_step)
        return self.write("bias", rows, tf.clip_by_value(value, 0, 1), slots)


def _writes(*assigned: Any) -> Writes:
    """Return the operations of assignments in a graph; outside they have run already."""
    return [] if tf.executing_eagerly() else [assignment.op for assignment in assigned]


def _step(
    spec: Optimizer,
    decay: float,
    rate: Tensor,
    scale: Tensor,
    may_step: Tensor,
    value: Tensor,
    slots: Tensors,
    gradient: Tensor,
) -> tuple[Tensor, Tensors]:
    """Return rows and slots after the step, or as they were; in the type of the rate."""
    value, gradient = tf.cast(value, rate.dtype), tf.cast(gradient, rate.dtype) / scale
    slots = {k: tf.cast(v, rate.dtype) if v.dtype.is_floating else v for k, v in slots.items()}
    moved, moved_slots = step_rows(spec, value, slots, gradient, rate, decay)
    slots = {slot: tf.where(may_step, moved_slots[slot], each) for slot, each in slots.items()}
    return tf.where(may_step, moved, value), slots


@lru_cache
def _compiled_step(spec: Optimizer) -> Any:
    """Compile `_step`: XLA goes over a block's rows once, TensorFlow would five times."""
    return tf.function(partial(_step, spec), jit_compile=True, autograph=False)


class UpdateSource:
    """The source of a pass over parameters that an update steps.

    Args:
        update: the parameters.
        plan: the blocks.
        centers: rows of weights for each class.
        sampled: numbers of the classes that the plan is for; None for all.
        used: number of classes that are stepped, the first of the sampled; None for all.
        memories: what the loss mixes into the class weights; None for nothing.
    """

    def __init__(
        self,
        update: Update,
        plan: HeadPlan,
        centers: int,
        sampled: Tensor | None,
        used: Tensor | None,
        memories: Memories | None,
    ) -> None:
        self.update, self.plan, self.centers = update, plan, centers
        self.sampled, self.used, self.memories = sampled, used, memories

    def block(self, k: Tensor) -> Parameters:
        """Read the block's rows."""
        block = Block(k, self.plan)
        return self._read(self._class_numbers(block.start + tf.range(block.size)))

    def target(self, target: TargetClasses) -> Parameters:
        """Read the samples' rows."""
        return self._read(self._class_numbers(target.places))

    def begin(self, embeddings: Tensor, d_terms: Terms) -> LoopVars:
        """Return the gradient of the one bias, zero, and whether anything may move."""
        # A step by a gradient that is not finite would spoil all weights for good.
        may_step = self.update.may_step(embeddings, *d_terms)
        d_one_bias = tf.zeros([1 if self.update.one_bias else 0], embeddings.dtype)
        return d_one_bias, may_step

    def add(
        self, k: Tensor, parameters: Parameters, gradients: BlockGradients, loop_vars: LoopVars
    ) -> tuple[LoopVars, Writes]:
        """Step the block's rows, but for those of classes that it repeats or that only fill up."""
        d_one_bias, may_step = loop_vars
        writes: Writes = []
        if self.update.learning:
            block = Block(k, self.plan)
            stop = block.size
            if self.used is not None:
                stop = tf.clip_by_value(tf.cast(self.used, tf.int32) - block.start, 0, stop)
            stepped = tf.minimum(block.repeated, stop), stop
            numbers = self._class_numbers(block.start + tf.range(block.size))
            values = {"weight": (weight_rows(numbers, self.centers), self.centers)}
            if parameters.bias is not None and not self.update.one_bias:
                values["bias"] = (numbers, 1)
            for name, (rows, rows_per_class) in values.items():
                value, gradient = getattr(parameters, name), getattr(gradients, name)
                new_value, new_slots = self.update.stepped(
                    name, rows, value, gradient, may_step, compiled=self.plan.blocks > 1
                )
                part = slice(*(place * rows_per_class for place in stepped))
                stepped_slots = {slot: each[part] for slot, each in new_slots.items()}
                writes += self.update.write(name, rows[part], new_value[part], stepped_slots)
        if parameters.bias is not None and self.update.one_bias:
            d_one_bias += gradients.bias
        return (d_one_bias, may_step), writes

    def finish(self, loop_vars: LoopVars) -> tuple[dict[str, Tensor], Writes]:
        """Step the one bias of all classes; all else is done."""
        d_bias, may_step = loop_vars
        if not (self.update.one_bias and self.update.learning) or self.update.bias_apart:
            return {}, []
        return {}, self.update.step_one_bias(d_bias, may_step)

    def _class_numbers(self, places: Tensor) -> Tensor:
        """Return the numbers, in this process, of classes at places of the pass."""
        numbers = places if self.sampled is None else tf.gather(self.sampled, places)
        return tf.cast(numbers, tf.int64)

    def _read(self, numbers: Tensor) -> Parameters:
        bias = None
        if "bias" in self.update.values and not self.update.bias_apart:
            bias = self.update.read("bias", tf.constant([0]) if self.update.one_bias else numbers)
        weight = self.update.read("weight", weight_rows(numbers, self.centers))
        memory = None if self.memories is None else self.memories.of(numbers)
        return Parameters(weight, bias, memory)


def with_gradient_check(loss: Tensor, update: Update) -> Tensor:
    """Return the loss; its backward pass first checks and counts the step: `Update.begin`."""

    @tf.custom_gradient
    def checked(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return tf.identity(value), update.begin

    return checked(loss)
