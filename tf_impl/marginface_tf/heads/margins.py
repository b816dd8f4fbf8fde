"""Learned margins, one a class, which only the samples of the class see.

They are the head's bias, and have no part in the pass over the classes: each sample needs its own,
and the loss the mean of all.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface_tf.heads.blocks import Parameters, PassInputs, TargetClasses
from marginface_tf.heads.passes import after
from marginface_tf.heads.sharding import own_part
from marginface_tf.heads.stepping import Update
from marginface_tf.processes import add_up, gather


def class_margins(
    parameters: Parameters | Update, inputs: PassInputs, shard: Shard | None, dtype: tf.DType
) -> tuple[Tensor, Tensor]:
    """Return the margins of this process's samples' own classes [batch], and the mean of all.

    Args:
        parameters: whose bias is the margins, which get a gradient or are stepped; those outside
            [0, 1] count as its end.
        inputs: of the pass; the mean is over its classes, by the weights of a sample.
        shard: this process's; None where every process has all classes.
        dtype: of the computation.
    """
    target = TargetClasses(inputs.ops.spec, inputs.plan, inputs.labels)
    classes = tf.range(inputs.plan.classes, dtype=tf.int64)
    used = inputs.plan.classes if inputs.used is None else inputs.used
    weights = tf.cast(classes < tf.cast(used, tf.int64), dtype)  # what fills up has none
    if inputs.sampled is not None:
        classes = tf.cast(inputs.sampled, tf.int64)
    if inputs.log_weights is not None:
        weights *= tf.exp(tf.cast(inputs.log_weights, dtype))

    @tf.custom_gradient
    def margins(source: Tensor) -> tuple[tuple[Tensor, Tensor], Callable[..., Tensor]]:
        update = parameters if isinstance(parameters, Update) else None
        of_pass = source if update is None else update.read("bias", classes)
        wide = tf.clip_by_value(tf.cast(of_pass, dtype), 0, 1)
        own = target.zero_elsewhere(tf.gather(wide, target.places))
        sums = tf.stack([tf.reduce_sum(weights * wide), tf.reduce_sum(weights)])
        if shard is not None:  # a class is in one shard
            own, sums = own_part(add_up(own), shard), add_up(sums)

        def gradient(d_own: Tensor, d_mean: Tensor) -> Tensor:
            if shard is not None:
                # The mean over the processes, here at once, as nobody averages it later.
                d_own = gather(d_own) / shard.count
            places, d_samples = target.places[:, None], target.zero_elsewhere(d_own)
            d_margins = weights / sums[1] * d_mean
            d_margins = tf.tensor_scatter_nd_add(d_margins, places, d_samples)
            if update is None:
                return tf.cast(d_margins, source.dtype)
            part = classes[:used], of_pass[:used], d_margins[:used]
            # By everybody's gradients: all shards leave a step out, or none.
            return after(update.step_margins(*part, d_own), tf.zeros_like(source))

        return (own, sums[0] / sums[1]), gradient

    source = parameters.anchor if isinstance(parameters, Update) else parameters.bias
    own, mean = margins(source)
    return own, mean
