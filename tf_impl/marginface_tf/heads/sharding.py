"""Classes shared among processes: each has a range of them, all see the whole batch.

A process's loss is the mean over its own samples, as in data parallelism, so that gradients
averaged over the processes are those of the whole batch. Class weights are not averaged: their
gradient is at once that of the mean over all samples.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface_tf.heads.blocks import Terms
from marginface_tf.processes import add_up, gather


def embeddings_of_all(embeddings: Tensor, shard: Shard) -> Tensor:
    """Return the embeddings of all processes; their gradient is added up over them.

    All have batches of one size.
    """

    @tf.custom_gradient
    def of_all(given: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def gradient(upstream: Tensor) -> Tensor:
            # Whoever averages gradients over the processes takes the factor away again.
            return own_part(add_up(upstream), shard) * shard.count

        return gather(given), gradient

    whole = of_all(embeddings)
    batch, size = embeddings.shape
    whole.set_shape([batch and batch * shard.count, size])
    return whole


def combine(terms: Terms, shard: Shard, *, binary: bool) -> Terms:
    """Return the terms of this process's samples over all classes, of those over each shard's."""

    @tf.custom_gradient
    def combined(*values: Tensor) -> tuple[tuple[Tensor, ...], Callable[..., tuple[Tensor, ...]]]:
        values = tuple(map(tf.stop_gradient, values))
        shards = gather(tf.stack(values)[None])  # [processes, 3, batch]
        others = shards[:, 2]
        total = tf.reduce_sum(others, 0) if binary else tf.reduce_logsumexp(others, 0)
        share = tf.ones_like(total) if binary else tf.exp(values[2] - total)

        def gradient(*upstream: Tensor) -> tuple[Tensor, ...]:
            whole = gather(tf.stack(upstream)[None])
            cosines, bias, others = tf.unstack(
                tf.reshape(tf.transpose(whole, [1, 0, 2]), [3, -1]) / shard.count
            )
            return cosines, bias, others * share

        found = (tf.reduce_sum(shards[:, 0], 0), tf.reduce_sum(shards[:, 1], 0), total)
        return tuple(own_part(each, shard) for each in found), gradient

    return Terms(*combined(*terms))


def added_gradient(parameter: Tensor) -> Tensor:
    """Return a parameter that all processes have alike; its gradient is added up over them."""

    @tf.custom_gradient
    def alike(given: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return tf.identity(given), add_up

    return alike(parameter)


def own_part(whole: Tensor, shard: Shard) -> Tensor:
    """Return this process's rows of what has a row for each sample of all processes."""
    batch = tf.shape(whole)[0] // shard.count
    return whole[shard.index * batch : (shard.index + 1) * batch]
