"""A loss's companion: a second loss of each sample, against the vectors that its classes keep.

It is a pass over the classes as that of `passes`, with the vectors in place of class weights. They
are constants: the backward pass makes one product a block, to the embeddings.
"""

from __future__ import annotations

import math
from dataclasses import replace

import tensorflow as tf
from tensorflow import Tensor

from marginface.heads import Shard
from marginface.losses import MarginLoss, Memory
from marginface_tf.heads.blocks import Parameters, PassInputs, TargetClasses
from marginface_tf.heads.classes import class_terms
from marginface_tf.heads.sharding import combine, own_part
from marginface_tf.losses.base import LossOps
from marginface_tf.processes import add_up


def companion_losses(
    ops: LossOps[MarginLoss],
    embeddings: Tensor,
    memory: Memory,
    bias: Tensor,
    inputs: PassInputs,
    shard: Shard | None,
) -> Tensor:
    """Return the companion's loss of each of this process's samples, [batch].

    Args:
        ops: the companion.
        embeddings: [batch, embedding_size], of length 1; with a shard of all processes.
        memory: of the pass's classes; those of share 0 have no vector, and no pairs.
        bias: [1].
        inputs: of the pass over class weights.
        shard: this process's; None where every process has all classes.
    """
    spec, share = ops.spec, tf.cast(memory.share, embeddings.dtype)
    log_weights = tf.math.log(share)
    if inputs.log_weights is not None:
        log_weights += tf.cast(inputs.log_weights, share.dtype)
    inputs = replace(
        inputs,
        ops=ops,
        prepared={},
        radius=spec.scale,
        interclass_filter=None,
        plan=inputs.plan.of_constants(),
        sampled=None,
        log_weights=log_weights,  # -inf for what is in no sum
        memories=None,
    )
    target = TargetClasses(spec, inputs.plan, inputs.labels)
    paired = target.zero_elsewhere(tf.gather(share, target.places))
    terms = class_terms(embeddings, None, Parameters(memory.vector, bias), inputs)
    if shard is not None:  # a class is in one shard
        terms, paired = combine(terms, shard, spec.adds), own_part(add_up(paired), shard)
    logits = spec.scale * ops.target(terms.cosines, tf.ones_like(paired), {}) + terms.bias
    if (limit := spec.logit_limit) is not None:
        logits = tf.clip_by_value(logits, -limit, limit)
    return ops.reduce(tf.where(paired > 0, logits, math.inf), terms.others)
