"""What a head says of a batch beside its loss: cosines and logits of all classes, and metrics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from marginface.heads import HeadMetrics, check_logits
from marginface.losses import MarginLoss
from marginface_torch.heads.blocks import (
    PassInputs,
    TargetClasses,
    block_products,
    filter_cosines,
    gather_block_inputs,
    iterate_blocks,
    safe_inverse,
    unit_vectors,
)
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.processes import gather


def dense_cosines(embeddings: Tensor, weight: Tensor, centers: int) -> Tensor:
    """Return the cosine with every class's nearest centre, [batch, classes].

    Args:
        embeddings: [batch, embedding_size].
        weight: [classes * centers, embedding_size].
        centers: of a class.
    """
    left, right = unit_vectors(embeddings)[0], unit_vectors(weight.to(embeddings.dtype))[0]
    return best_centers(left @ right.T, centers)


def best_centers(products: Tensor, centers: int) -> Tensor:
    """Return each class's highest product [batch, classes] of those of its centres."""
    return products.view(len(products), -1, centers).amax(2)


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
    own = torch.where(is_own, cosines, 0).sum(1)
    others = filter_cosines(cosines, interclass_filter)
    negatives = ops.negatives(others, prepared)
    tally = {
        name: torch.where(is_own, 0, values.to(cosines.dtype)).sum(1)
        for name, values in ops.tally(others.detach(), prepared).items()
    }
    target = ops.target(own, norms, {**prepared, **tally})
    check_logits(ops.spec.name, "negatives", negatives, cosines)
    check_logits(ops.spec.name, "target", target, own)
    return torch.where(is_own, target[:, None], negatives)


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
    embeddings: Tensor, weight: Tensor, bias: Tensor | None, inputs: PassInputs
) -> Nearest:
    """Go over the classes in blocks; return each sample's own and its highest other logit.

    Args:
        embeddings: [batch, embedding_size], of length 1 where the loss is normalised.
        weight: [classes * centers, embedding_size].
        bias: [classes] or None; one that all classes share puts none ahead.
        inputs: of the pass.
    """
    spec, dtype = inputs.ops.spec, embeddings.dtype
    others = embeddings.new_full((len(embeddings),), -torch.inf)
    for block in iterate_blocks(inputs):
        w = weight[inputs.rows(block.start, block.stop)].to(dtype)
        inverse_norms = None
        if spec.normalized:
            inverse_norms = safe_inverse(torch.linalg.vector_norm(w, dim=1))
        products = block_products(embeddings, w, inverse_norms, inputs.half)
        of_block = gather_block_inputs(block, products, None, bias, inputs)
        logits = best_centers(products, spec.num_centers)
        logits = logits if of_block.bias is None else logits + of_block.bias
        others = torch.maximum(others, of_block.fill_target(logits, -torch.inf).amax(1))
    target = TargetClasses(inputs, dtype)
    target_weight = target.take(weight)
    own = target.cosines(embeddings, target_weight)
    if bias is not None:
        own_bias = bias[inputs.class_numbers(target.places)].to(dtype)
        own = own + torch.where(target.here, own_bias, 0)
    units = unit_vectors(embeddings)[0], unit_vectors(target_weight)[0]
    cosines = (units[1] * units[0][:, None]).sum(2).amax(1)
    return Nearest(torch.where(target.here, cosines, 0), own, others)


def nearest_of_all(shards: Nearest) -> Nearest:
    """Combine what each shard found of the whole batch."""
    gathered = gather(torch.stack(shards)[None])  # [processes, 3, batch]
    # A class is in one shard; its logit is 0 in all others.
    return Nearest(gathered[:, 0].sum(0), gathered[:, 1].sum(0), gathered[:, 2].amax(0))


def metrics_of(nearest: Nearest) -> HeadMetrics[Tensor]:
    """Return the metrics of a batch."""
    correct = (nearest.own > nearest.others).to(nearest.own.dtype)
    return HeadMetrics(correct.mean(), nearest.angle_cosines.clamp(-1, 1).acos().mean())
