"""A loss's companion: a second loss of each sample, against the vectors that its classes keep.

It is a pass over the classes as that of `passes`, with the vectors in place of class weights. They
are constants: the backward pass makes one product a block, to the embeddings.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from marginface.heads import Shard
from marginface.losses import MarginLoss, Memory
from marginface_torch.heads.blocks import PassInputs, TargetClasses
from marginface_torch.heads.classes import class_terms
from marginface_torch.heads.sharding import added_gradient, combine, own_part
from marginface_torch.losses.base import LossOps
from marginface_torch.processes import add_up


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
        memory: of this process's classes; those of share 0 have no vector, and no pairs.
        bias: [1].
        inputs: of the pass over class weights.
        shard: this process's; None where every process has all classes.
    """
    spec, share = ops.spec, memory.share.to(embeddings.dtype)
    log_weights = (share if inputs.sampled is None else share[inputs.sampled]).log()
    if inputs.log_weights is not None:
        log_weights = log_weights + inputs.log_weights
    inputs = replace(
        inputs,
        ops=ops,
        prepared={},
        radius=spec.scale,
        interclass_filter=None,
        plan=inputs.plan.of_constants(),
        log_weights=log_weights,  # -inf for what is in no sum
        memories=None,
    )
    target = TargetClasses(inputs, embeddings.dtype)
    paired = torch.where(target.here, share[inputs.class_numbers(target.places)], 0)
    if shard is None:
        terms = class_terms(embeddings, None, memory.vector, bias, inputs)
    else:  # a class is in one shard
        terms = class_terms(embeddings, None, memory.vector, added_gradient(bias), inputs)
        terms, paired = combine(terms, shard, spec.adds), own_part(add_up(paired), shard)
    logits = spec.scale * ops.target(terms.cosines, torch.ones_like(paired), {}) + terms.bias
    if (limit := spec.logit_limit) is not None:
        logits = logits.clamp(-limit, limit)
    return ops.reduce(torch.where(paired > 0, logits, torch.inf), terms.others)
