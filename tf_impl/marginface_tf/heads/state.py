"""A loss's state: what a step prepares from its target cosines, and what goes on to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface.losses import MarginLoss
from marginface_tf.heads.sharding import own_part
from marginface_tf.losses.base import LossOps, Tensors
from marginface_tf.processes import add_up, gather, replicas


def prepare_step(
    ops: LossOps[MarginLoss],
    cosines: Tensor,
    norms: Tensor,
    state: Tensors,
    draws: Tensors,
    shard: Shard | None,
    *,
    training: bool,
) -> tuple[Tensors, Tensors, Tensors]:
    """Let the loss prepare a step from the target cosines of all processes' samples.

    Args:
        ops: the loss.
        cosines: of the target classes, [batch]; with a shard of all processes' samples, 0 for a
            class that is elsewhere.
        norms: of the embeddings, [batch], of the same samples.
        state: of the loss.
        draws: of this process's samples.
        shard: this process's; None where every process has all classes.
        training: False looks at this process's samples alone, unless classes are shared.

    Returns:
        the prepared values for the pass over the classes, those for this process's own samples,
        and the next state.
    """
    if shard is not None:  # all samples are here, but each has its cosine in one shard
        draws = {name: gather(value) for name, value in draws.items()}
        all_prepared, next_state = ops.prepare(add_up(cosines), norms, state, draws)
        prepared = {name: own_part(value, shard) for name, value in all_prepared.items()}
        return all_prepared, prepared, next_state
    if replicas() == 1 or not training or not (state or draws):
        prepared, next_state = ops.prepare(cosines, norms, state, draws)
        return prepared, prepared, next_state
    draws = {name: gather(value) for name, value in draws.items()}
    all_prepared, next_state = ops.prepare(gather(cosines), gather(norms), state, draws)
    batch = tf.shape(cosines)[0]
    sizes = gather(batch[None])  # the last batch of an epoch may differ
    first = tf.reduce_sum(sizes[: tf.distribute.get_replica_context().replica_id_in_sync_group])
    prepared = {name: value[first : first + batch] for name, value in all_prepared.items()}
    return prepared, prepared, next_state


def carry_state(
    state: Mapping[str, Any],
    next_state: Tensors,
    sums: Mapping[str, Any],
    calls: Any,
    accumulation: int,
) -> None:
    """Move the state on, in place; with accumulation, at the last call of an optimizer step.

    Args:
        state: of the loss, variables.
        next_state: what this call makes of it.
        sums: of `next_state` since the last optimizer step, variables; empty without accumulation.
        calls: number of calls since then, a variable; None without accumulation.
        accumulation: calls to one optimizer step.
    """
    if accumulation == 1:
        for name, variable in state.items():
            variable.assign(tf.cast(next_state[name], variable.dtype))
        return
    calls_now = calls.value + 1
    last = calls_now == accumulation
    calls.assign(tf.where(last, tf.zeros_like(calls_now), calls_now))
    for name, variable in state.items():
        total = sums[name].value + tf.cast(next_state[name], variable.dtype)
        mean = tf.cast(total / tf.cast(calls_now, total.dtype), variable.dtype)
        variable.assign(tf.where(last, mean, variable.value))
        sums[name].assign(tf.where(last, tf.zeros_like(total), total))
