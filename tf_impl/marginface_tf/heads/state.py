"""A loss's state: what a step prepares from its target cosines, and what goes on to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface.losses import MarginLoss
from marginface_tf.losses.base import LossOps, Tensors
from marginface_tf.processes import add_up, gather, replicas


class PreparedStep(NamedTuple):
    """What a loss prepared a step with.

    Args:
        of_all: values for the pass over the classes, [batch] each; with a shard, of the samples of
            all processes.
        own: values for this process's own samples.
        radius: what logits are multiplied by.
        state: the next, before `finish_step`.
    """

    of_all: Tensors
    own: Tensors
    radius: Tensor | float
    state: Tensors


def prepare_step(
    ops: LossOps[MarginLoss],
    cosines: Tensor,
    norms: Tensor,
    state: Tensors,
    draws: Tensors,
    shard: Shard | None,
    look_ahead: Callable[[PreparedStep], Tensor],
    *,
    training: bool,
) -> PreparedStep:
    """Let the loss prepare a step from the target cosines of all processes' samples.

    Args:
        ops: the loss.
        cosines: of the target classes, [batch]; with a shard of all processes' samples, 0 for a
            class that is elsewhere.
        norms: of the embeddings, [batch], of the same samples.
        state: of the loss.
        draws: of this process's samples.
        shard: this process's; None where every process has all classes.
        look_ahead: goes over the classes and returns `Terms.others` of this process's samples, for
            a loss that finishes its state before the step uses it.
        training: False looks at this process's samples alone, unless classes are shared.
    """
    together = shard is not None or (replicas() > 1 and training and bool(state or draws))
    if shard is not None:  # all samples are here, but each has its cosine in one shard
        all_cosines, all_norms = add_up(cosines), norms
    elif together:
        all_cosines, all_norms = gather(cosines), gather(norms)
    else:
        all_cosines, all_norms = cosines, norms
    if together:
        draws = {name: gather(value) for name, value in draws.items()}
    place = _own_samples(tf.shape(cosines)[0], shard) if together else None

    def prepare(state: Tensors) -> PreparedStep:
        of_all, after = ops.prepare(all_cosines, all_norms, state, draws)
        own = of_all if place is None else {n: value[place] for n, value in of_all.items()}
        return PreparedStep(own if shard is None else of_all, own, ops.radius(state), after)

    step = prepare(state)
    if ops.spec.looks_ahead and training:
        others = tf.stop_gradient(look_ahead(step))
        others = gather(others) if together else others
        step = prepare(ops.finish(all_cosines, others, state))
    return step


def _own_samples(batch: Tensor, shard: Shard | None) -> slice:
    """Return the place of this process's samples among those of all."""
    if shard is not None:  # `batch` is everybody's
        share = batch // shard.count
        return slice(shard.index * share, (shard.index + 1) * share)
    sizes = gather(batch[None])  # the last batch of an epoch may differ
    first = tf.reduce_sum(sizes[: tf.distribute.get_replica_context().replica_id_in_sync_group])
    return slice(first, first + batch)


def finish_step(
    ops: LossOps[MarginLoss], cosines: Tensor, others: Tensor, state: Tensors
) -> Tensors:
    """Let the loss move its state on after a pass, unless it looked ahead.

    Args:
        ops: the loss.
        cosines: `Terms.cosines` of this process's samples.
        others: `Terms.others` of the same.
        state: from `prepare_step`.
    """
    if ops.spec.looks_ahead or type(ops).finish is LossOps.finish:
        return state
    cosines, others = tf.stop_gradient(cosines), tf.stop_gradient(others)
    if replicas() > 1:
        cosines, others = gather(cosines), gather(others)
    return ops.finish(cosines, others, state)


def carry_state(
    state: Mapping[str, Any],
    next_state: Tensors,
    sums: Mapping[str, Any],
    calls: Any,
    accumulation: int,
) -> None:
    """Move the state on, in place; with accumulation, at the last call of an optimizer step.

    A value that would not be finite stays as it was: one batch that overflows would spoil it for
    good. In accumulation it counts for its call as it was.

    Args:
        state: of the loss, variables.
        next_state: what this call makes of it.
        sums: of `next_state` since the last optimizer step, variables; empty without accumulation.
        calls: number of calls since then, a variable; None without accumulation.
        accumulation: calls to one optimizer step.
    """
    kept = {name: _finite(next_state[name], variable) for name, variable in state.items()}
    if accumulation == 1:
        for name, variable in state.items():
            variable.assign(kept[name])
        return
    calls_now = calls.value + 1
    last = calls_now == accumulation
    calls.assign(tf.where(last, tf.zeros_like(calls_now), calls_now))
    for name, variable in state.items():
        total = sums[name].value + kept[name]
        mean = tf.cast(total / tf.cast(calls_now, total.dtype), variable.dtype)
        variable.assign(tf.where(last, mean, variable.value))
        sums[name].assign(tf.where(last, tf.zeros_like(total), total))


def _finite(value: Tensor, variable: Any) -> Tensor:
    """Return a value for a variable; where it is not finite the variable's own."""
    value = tf.cast(value, variable.dtype)
    if not value.dtype.is_floating:
        return value
    return tf.where(tf.math.is_finite(value), value, variable.value)
