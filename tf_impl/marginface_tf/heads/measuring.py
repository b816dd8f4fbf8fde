"""What a head says of a batch beside its loss: cosines and logits of all classes, and metrics."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import HeadMetrics, check_logits
from marginface.losses import MarginLoss
from marginface_tf.heads.blocks import (
    Block,
    BlockInputs,
    Masks,
    Parameters,
    PassInputs,
    TargetClasses,
    block_products,
    filter_cosines,
    inverse_norms,
    unit_vectors,
)
from marginface_tf.heads.classes import parameter_source
from marginface_tf.heads.passes import LoopVars, loop_over_blocks
from marginface_tf.heads.stepping import Update
from marginface_tf.losses.base import LossOps, Tensors
from marginface_tf.processes import gather


def dense_cosines(embeddings: Tensor, weight: Tensor, centers: int) -> Tensor:
    """Return the cosine with every class's nearest centre, [batch, classes].

    Args:
        embeddings: [batch, embedding_size].
        weight: [classes * centers, embedding_size].
        centers: of a class.
    """
    left, right = unit_vectors(embeddings)[0], unit_vectors(tf.cast(weight, embeddings.dtype))[0]
    return best_centers(tf.matmul(left, right, transpose_b=True), centers)


def best_centers(products: Tensor, centers: int) -> Tensor:
    """Return each class's highest product [batch, classes] of those of its centres."""
    return tf.reduce_max(tf.reshape(products, [-1, products.shape[1] // centers, centers]), 2)


def add_margin(
    ops: LossOps[MarginLoss],
    cosines: Tensor,
    norms: Tensor,
    is_own: Tensor,
    prepared: Tensors,
    interclass_filter: float | None,
) -> Tensor:
    """Return what the scale is to multiply, [batch, classes]: margins on the samples' own classes.

    Args:
        ops: the loss.
        cosines: [batch, classes].
        norms: of the embeddings, [batch].
        is_own: [batch, classes], True for each sample's own class.
        prepared: from `ops.prepare`.
        interclass_filter: as in `MarginHead`.
    """
    own = tf.reduce_sum(tf.where(is_own, cosines, tf.zeros_like(cosines)), 1)
    others = filter_cosines(cosines, interclass_filter)
    negatives = ops.negatives(others, prepared)
    tally = {
        name: tf.reduce_sum(tf.where(is_own, 0, tf.cast(values, cosines.dtype)), 1)
        for name, values in ops.tally(tf.stop_gradient(others), prepared).items()
    }
    target = ops.target(own, norms, {**prepared, **tally})
    check_logits(ops.spec.name, "negatives", negatives, cosines)
    check_logits(ops.spec.name, "target", target, own)
    return tf.where(is_own, target[:, None], negatives)


class Nearest(NamedTuple):
    """What a batch's metrics are made of, [batch] each, without margin and scale.

    Args:
        angle_cosines: of the angle to the sample's own class; 0 where that class is elsewhere.
        own: the logit of that class, a cosine or w . x + b; 0 likewise.
        others: the highest logit of all other classes of the pass.
    """

    angle_cosines: Tensor
    own: Tensor
    others: Tensor


def nearest_classes(
    embeddings: Tensor, parameters: Parameters | Update, inputs: PassInputs
) -> Nearest:
    """Go over the classes in blocks; return each sample's own and its highest other logit.

    Args:
        embeddings: [batch, embedding_size], of length 1 where the loss is normalised.
        parameters: class weights and bias.
        inputs: of the pass.
    """
    spec, plan, dtype = inputs.ops.spec, inputs.plan, embeddings.dtype
    source = parameter_source(parameters, inputs)
    radius, labels = inputs.radius, inputs.labels
    of_blocks = BlockInputs(embeddings, radius, None, {}, labels, None, inputs.used)

    def body(k: Tensor, others: Tensor, *, keep: bool) -> LoopVars:
        del keep  # nothing goes back
        of_block, block = source.block(k), Block(k, plan)
        w = tf.cast(of_block.weight, dtype)
        products = block_products(embeddings, w, inverse_norms(spec, w), plan.precision)
        logits = best_centers(products, spec.num_centers)
        if of_block.bias is not None:
            logits += tf.cast(of_block.bias, dtype)
        logits = tf.where(Masks(block, of_blocks).left_out, dtype.min, logits)
        return (tf.maximum(others, tf.reduce_max(logits, 1)),)

    (others,) = loop_over_blocks(plan, body, tf.fill(tf.shape(embeddings)[:1], dtype.min))
    target = TargetClasses(spec, plan, labels)
    of_target = source.target(target)
    target_weight = tf.cast(of_target.weight, dtype)
    own = target.cosines(embeddings, target_weight)
    if of_target.bias is not None:
        own += target.zero_elsewhere(tf.cast(of_target.bias, dtype))
    centers = tf.reshape(target_weight, [-1, spec.num_centers, target_weight.shape[1]])
    products = unit_vectors(centers)[0] * unit_vectors(embeddings)[0][:, None]
    cosines = tf.reduce_max(tf.reduce_sum(products, 2), 1)
    return Nearest(target.zero_elsewhere(cosines), own, others)


def nearest_of_all(shards: Nearest) -> Nearest:
    """Combine what each shard found of the whole batch."""
    gathered = gather(tf.stack(shards)[None])  # [processes, 3, batch]
    # A class is in one shard; its logit is 0 in all others.
    return Nearest(
        tf.reduce_sum(gathered[:, 0], 0),
        tf.reduce_sum(gathered[:, 1], 0),
        tf.reduce_max(gathered[:, 2], 0),
    )


def metrics_of(nearest: Nearest) -> HeadMetrics[Tensor]:
    """Return the metrics of a batch."""
    correct = tf.cast(nearest.own > nearest.others, nearest.own.dtype)
    angles = tf.acos(tf.clip_by_value(nearest.angle_cosines, -1, 1))
    return HeadMetrics(tf.reduce_mean(correct), tf.reduce_mean(angles))
