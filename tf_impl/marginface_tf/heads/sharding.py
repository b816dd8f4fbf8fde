"""Classes shared among processes: each has a range of them, and all see the whole batch.

A process's loss is the mean over its own samples, as in data parallelism, so that gradients
averaged over the processes are those of the whole batch. Class weights are not averaged: their
gradient is that of the mean over all samples from the start. `passes` draws the order of events.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface.losses.values import Sum
from marginface_tf.heads.blocks import Terms
from marginface_tf.processes import add_up, gather


def embeddings_of_all(embeddings: Tensor, shard: Shard) -> Tensor:
    """Gather the embeddings of all processes; the backward pass adds up their gradients.

    All have batches of one size.
    """

    @tf.custom_gradient
    def of_all(own: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def gradient(d_gathered: Tensor) -> Tensor:
            # The mean over the processes, which data parallelism takes next, divides by it again.
            return own_part(add_up(d_gathered), shard) * shard.count

        return gather(own), gradient

    gathered = of_all(embeddings)
    batch, size = embeddings.shape
    gathered.set_shape([batch and batch * shard.count, size])
    return gathered


def combine(terms: Terms, shard: Shard, adds: Sum) -> Terms:
    """Combine each shard's terms into those of this process's samples over all classes."""

    @tf.custom_gradient
    def combined(*values: Tensor) -> tuple[tuple[Tensor, ...], Callable[..., tuple[Tensor, ...]]]:
        values = tuple(map(tf.stop_gradient, values))
        rows = tf.concat([tf.stack(values[:3]), values[3]], 0)
        shards = gather(rows[None])  # [processes, rows, batch]
        # A class is in one shard; its cosine and bias are 0 in all others.
        cosines, bias = tf.reduce_sum(shards[:, 0], 0), tf.reduce_sum(shards[:, 1], 0)
        if adds == "logsumexp":
            total = tf.reduce_logsumexp(shards[:, 2], 0)
            share = tf.exp(values[2] - total)  # d total / d others
        else:
            total = tf.reduce_sum(shards[:, 2], 0)
            share = tf.ones_like(total)

        def gradient(*upstream: Tensor) -> tuple[Tensor, ...]:
            # Each process has the gradients of its own samples' terms: [processes, 3, own samples].
            gathered = gather(tf.stack(upstream[:3])[None])
            # The mean over the processes, here at once, as nobody averages class weights later.
            d_cosines, d_bias, d_others = tf.unstack(
                tf.reshape(tf.transpose(gathered, [1, 0, 2]), [3, -1]) / shard.count
            )
            return d_cosines, d_bias, d_others * share, tf.zeros_like(values[3])

        tally = tf.transpose(tf.reduce_sum(shards[:, 3:], 0))
        own = [own_part(value, shard) for value in (cosines, bias, total, tally)]
        return (*own[:3], tf.transpose(own[3])), gradient

    return Terms(*combined(*terms))


def added_gradient(parameter: Tensor) -> Tensor:
    """Return a parameter that is equal on all processes; the backward pass adds up its gradient."""

    @tf.custom_gradient
    def shared(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return tf.identity(value), add_up

    return shared(parameter)


def own_part(whole: Tensor, shard: Shard) -> Tensor:
    """Return this process's rows of values that have a row for each sample of all processes."""
    batch = tf.shape(whole)[0] // shard.count
    return whole[shard.index * batch : (shard.index + 1) * batch]
