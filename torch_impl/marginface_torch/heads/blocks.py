"""The arithmetic of one block of classes, forward and backward.

A gradient is called `d_` and the name of what it is of: `d_logits` is d loss / d logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.heads import HeadPlan, check_logits
from marginface.losses import MIN_NORM, MarginLoss, Memory
from marginface_torch.heads.memory import Memories, mix
from marginface_torch.heads.rounding import HALF, rounded_matmul
from marginface_torch.heads.stepping import Update
from marginface_torch.losses.base import LossOps, Tensors


@dataclass(frozen=True)
class PassInputs:
    """What a pass over the classes takes, beside the tensors that get gradients.

    Args:
        ops: the loss.
        prepared: from `ops.prepare`, [batch] each.
        radius: from `ops.radius`.
        plan: the blocks of classes, and which products are kept.
        labels: with `sampled` and `log_weights`, as in `LocalClasses`.
        interclass_filter: as in `MarginHead`.
        one_bias: whether all classes share one bias.
        update: steps weight and bias in the backward pass; they then get no gradient.
        memories: what the loss mixes into the class weights; None for nothing.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    radius: Tensor | float
    plan: HeadPlan
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    interclass_filter: float | None = None
    one_bias: bool = False
    update: Update | None = None
    memories: Memories | None = None

    @cached_property
    def by_class(self) -> tuple[Tensor, Tensor, list[int]]:
        """Labels in ascending order, the samples that they are of, and where each block begins.

        A GPU is waited for, once for both ways through the blocks.
        """
        plan = self.plan
        ordered, order = self.labels.sort()
        edges = torch.arange(plan.blocks + 1, device=ordered.device) * plan.block
        bounds = torch.searchsorted(ordered, edges.clamp_(max=plan.classes)).tolist()
        return ordered, order, bounds

    @property
    def half(self) -> torch.dtype | None:
        """Return the type that factors of matrix products are rounded to; None for theirs."""
        return HALF.get(self.plan.precision)

    def rows(self, start: int, stop: int) -> slice | Tensor:
        """Return the rows of class weights of the classes at places `start` to `stop`."""
        centers = self.ops.spec.num_centers
        if self.sampled is None:
            return slice(start * centers, stop * centers)
        return weight_rows(self.sampled[start:stop], centers)

    def recall(self, classes: slice | Tensor) -> Memory | None:
        """Return what the loss mixes into the weights of some classes; None for nothing."""
        return None if self.memories is None else self.memories.of(classes)

    def class_numbers(self, places: Tensor) -> Tensor:
        """Return the numbers, in this process, of classes at places of the pass."""
        sampled = self.sampled
        return places if sampled is None or len(sampled) == 0 else sampled[places]


class Terms(NamedTuple):
    """What a sample's loss is made of, [batch] each.

    Args:
        cosines: with the sample's own class (w . x where nothing is normalised); 0 where that class
            is elsewhere.
        bias: of the sample's own class; 0 without one, or elsewhere.
        others: all other classes' logits, added up as `MarginLoss.adds` says.
        tally: [tallies, batch], the sums of `LossOps.tally` over all other classes; no gradient.
    """

    cosines: Tensor
    bias: Tensor
    others: Tensor
    tally: Tensor


class Sums(NamedTuple):
    """Running sums over all other classes than a sample's own.

    Args:
        top: [batch, 1], the highest logit so far.
        total: [batch, 1], the sum so far, of exp(logit - top), or of what `MarginLoss.adds` says.
        tally: [tallies, batch], as in `Terms`.
    """

    top: Tensor
    total: Tensor
    tally: Tensor


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1, and the norms; a zero row stays zero, with zero gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    return vectors * safe_inverse(norms)[..., None], torch.where(norms <= MIN_NORM, 0, norms)


def safe_inverse(norms: Tensor) -> Tensor:
    """Return 1 / norms; 0 for a vector too short to have a direction."""
    short = norms <= MIN_NORM
    return torch.where(short, 0, 1 / torch.where(short, 1, norms))


def weight_rows(classes: Tensor, centers: int) -> Tensor:
    """Return the rows [classes * centers] of class weights."""
    return (classes[:, None] * centers + torch.arange(centers, device=classes.device)).flatten()


class TargetClasses:
    """Each sample's own class, and which of these are in this process's pass.

    Attributes:
        here: [batch], whether the sample's class is in the pass.
        places: [batch], its place there; 0 for those elsewhere.
        rows: [batch * centers], of its weights.
    """

    def __init__(self, inputs: PassInputs, dtype: torch.dtype) -> None:
        self.inputs, self.spec, self.dtype = inputs, inputs.ops.spec, dtype
        labels = inputs.labels
        self.here = (labels >= 0) & (labels < inputs.plan.classes)
        self.places = torch.where(self.here, labels, 0)
        self.rows = weight_rows(inputs.class_numbers(self.places), self.spec.num_centers)

    def take(self, weight: Tensor) -> Tensor:
        """Return the weights [batch, centers, embedding_size]; some class's for those elsewhere."""
        rows = weight.index_select(0, self.rows).to(self.dtype)
        return rows.reshape(-1, self.spec.num_centers, weight.shape[1])

    def cosines(self, embeddings: Tensor, target_weight: Tensor) -> Tensor:
        """Return the target cosines [batch], or w . x; 0 for samples whose class is elsewhere.

        Args:
            embeddings: [batch, embedding_size].
            target_weight: [batch, centers, embedding_size], from `take`.
        """
        memory = self.inputs.recall(self.rows)
        target_weight = mix(target_weight.flatten(0, 1), memory).view_as(target_weight)
        right = unit_vectors(target_weight)[0] if self.spec.normalized else target_weight
        return torch.where(self.here, (right * embeddings[:, None]).sum(2).amax(1), 0)


class Block(NamedTuple):
    """The classes at places `start` to `stop` of a pass.

    Args:
        start: the first.
        stop: the one after the last.
        samples: numbers of the samples whose own class is in the block.
        columns: the places of these classes in the block.
        labels: of all samples [batch], counted from `start`.
    """

    start: int
    stop: int
    samples: Tensor
    columns: Tensor
    labels: Tensor


def iterate_blocks(inputs: PassInputs) -> Iterator[Block]:
    """Yield the blocks of a pass."""
    plan = inputs.plan
    ordered, order, bounds = inputs.by_class
    for k in range(plan.blocks):
        start, (first, last) = k * plan.block, bounds[k : k + 2]
        stop = min(start + plan.block, plan.classes)
        samples, columns = order[first:last], ordered[first:last] - start
        yield Block(start, stop, samples, columns, inputs.labels - start)


class BlockInputs(NamedTuple):
    """What a block's logits are made of, and where in it samples have their own class.

    Args:
        products: of embeddings and class weights, [batch, block * centers]; see `block_products`.
        radius: what logits are multiplied by, from `ops.radius`.
        norms: [batch], which logits are multiplied by besides the radius; None for nothing.
        bias: [block], [1] or None.
        log_weights: [block], added to the logits in the sum over a sample of classes; None for 0.
        interclass_filter: as in `MarginHead`.
        samples: numbers of the samples whose own class is in the block; None to look in `labels`.
        columns: the places of these classes in the block.
        labels: of all samples [batch], counted from the block's first class.
    """

    products: Tensor
    radius: Tensor | float
    norms: Tensor | None
    bias: Tensor | None
    log_weights: Tensor | None
    interclass_filter: float | None
    samples: Tensor | None
    columns: Tensor | None
    labels: Tensor

    def fill_target(self, values: Tensor, value: float) -> Tensor:
        """Return values [batch, block] with `value` at samples' own classes; maybe in place."""
        if self.samples is None:
            columns = torch.arange(values.shape[1], device=values.device)
            return torch.where(columns == self.labels[:, None], value, values)
        values[self.samples, self.columns] = value
        return values


def gather_block_inputs(
    block: Block, products: Tensor, norms: Tensor | None, bias: Tensor | None, inputs: PassInputs
) -> BlockInputs:
    """Gather what a block's logits are made of.

    Args:
        block: some of the classes.
        products: the block's.
        norms: [batch] or None.
        bias: of all classes, [classes] or [1], or None.
        inputs: of the pass.
    """
    places = slice(block.start, block.stop)
    if bias is not None and not inputs.one_bias:
        bias = bias[places if inputs.sampled is None else inputs.sampled[places]]
    log_weights = inputs.log_weights
    return BlockInputs(
        products,
        inputs.radius,
        norms,
        None if bias is None else bias.to(products.dtype),
        None if log_weights is None else log_weights[places].to(products.dtype),
        inputs.interclass_filter,
        *block[2:],
    )


def filter_cosines(cosines: Tensor, limit: Tensor | float | None) -> Tensor:
    """Return cosines, 0 in place of those above the limit; None for no limit."""
    return cosines if limit is None else torch.where(cosines > limit, 0, cosines)


class BlockLogits:
    """Logits of one block, and the way back to the products that they are made of.

    Attributes:
        logits: [batch, block].
        cosines: [batch, block], filtered; not where the scale is folded into the products.
        unclamped: [batch, block], where no limit cut a logit off; None without a limit.
    """

    def __init__(
        self, ops: LossOps[MarginLoss], prepared: Tensors, inputs: BlockInputs, *, gradient: bool
    ) -> None:
        self.ops = ops
        spec, products = ops.spec, inputs.products
        self.radius, self.norms = inputs.radius, inputs.norms
        self.folded = scale_folded(ops, inputs.norms)
        self.products = products
        self.limit: Tensor | float | None = inputs.interclass_filter
        if self.folded:
            # Products have the scale in them. Those that were kept stay as they are.
            self.limit = None if self.limit is None else self.limit * inputs.radius
            self.negatives = logits = filter_cosines(products, self.limit)
        else:
            with torch.set_grad_enabled(gradient):  # the loss's own code: autograd goes back
                self.products = products.detach().requires_grad_(gradient)
                best = self.products
                if spec.num_centers > 1:
                    best = best.reshape(len(best), -1, spec.num_centers).amax(2)
                best = filter_cosines(best, self.limit)
                self.negatives = ops.negatives(best, prepared)
            check_logits(spec.name, "negatives", self.negatives, best)
            self.cosines = best.detach()
            scale = self.radius if self.norms is None else self.radius * self.norms[:, None]
            logits = self.negatives.detach() * scale
        if inputs.bias is not None:
            logits = logits + inputs.bias
        limit = spec.logit_limit
        self.unclamped = None if limit is None else logits.abs() <= limit
        self.logits = logits if limit is None else logits.clamp(-limit, limit)

    def backward(self, d_logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `d_products` [batch, block * centers] and `d_norms` [batch]."""
        if self.folded:
            if self.limit is not None:
                d_logits = torch.where(self.products > self.limit, 0, d_logits)
            return d_logits, None
        d_norms = None
        if self.norms is not None:
            d_norms = (d_logits * self.negatives.detach()).sum(1).mul_(self.radius)
            d_logits = d_logits * self.norms[:, None]
        d_negatives = d_logits * self.radius
        (d_products,) = torch.autograd.grad(self.negatives, self.products, d_negatives)
        return d_products, d_norms


def forward_block(
    ops: LossOps[MarginLoss], prepared: Tensors, inputs: BlockInputs, sums: Sums
) -> Sums:
    """Add a block to the running sums over all other classes than a sample's own.

    Args:
        ops: the loss.
        prepared: from `ops.prepare`, [batch] each.
        inputs: the block's.
        sums: over the blocks before it.
    """
    block = BlockLogits(ops, prepared, inputs, gradient=False)
    logits, log_weights = block.logits, inputs.log_weights
    top, total, tally = sums
    if ops.spec.tallies:
        tally = tally + _tally_block(ops, prepared, inputs, block.cosines)
    if ops.spec.adds != "logsumexp":
        terms = softplus(logits, threshold=40) if ops.spec.adds == "softplus" else logits
        if log_weights is not None:
            terms = terms * log_weights.exp()
        return Sums(top, total + inputs.fill_target(terms, 0).sum(1, keepdim=True), tally)
    if log_weights is not None:
        logits = logits + log_weights
    logits = inputs.fill_target(logits, torch.finfo(logits.dtype).min)
    highest = torch.maximum(top, logits.amax(1, keepdim=True))
    parts = torch.sub(logits, highest).exp_().sum(1, keepdim=True)
    return Sums(highest, total * (top - highest).exp_() + parts, tally)


def _tally_block(
    ops: LossOps[MarginLoss], prepared: Tensors, inputs: BlockInputs, cosines: Tensor
) -> Tensor:
    """Return what a block's cosines [batch, block] add to the tallies, [tallies, batch]."""
    each = ops.tally(cosines, prepared)
    counted = [inputs.fill_target(each[name].to(cosines.dtype), 0) for name in ops.spec.tallies]
    if inputs.log_weights is None:
        return torch.stack([values.sum(1) for values in counted])
    weights = inputs.log_weights.exp()
    return torch.stack([values @ weights for values in counted])


def backward_logits(
    ops: LossOps[MarginLoss],
    prepared: Tensors,
    inputs: BlockInputs,
    others: Tensor,
    d_others: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return `d_logits`, `d_products` and `d_norms` of a block.

    Args:
        ops: the loss.
        prepared: from `ops.prepare`, [batch] each.
        inputs: the block's.
        others: `Terms.others`, of all blocks.
        d_others: its gradient, [batch].
    """
    block, log_weights = BlockLogits(ops, prepared, inputs, gradient=True), inputs.log_weights
    # d others / d logit: the class's share of the sum.
    if ops.spec.adds == "logsumexp":
        d_logits = torch.sub(block.logits, others[:, None])
        d_logits = (d_logits if log_weights is None else d_logits.add_(log_weights)).exp_()
    else:
        by_softplus = ops.spec.adds == "softplus"
        d_logits = block.logits.sigmoid() if by_softplus else torch.ones_like(block.logits)
        if log_weights is not None:
            d_logits *= log_weights.exp()
    d_logits = inputs.fill_target(d_logits, 0)
    if block.unclamped is not None:
        d_logits = d_logits.mul_(block.unclamped)
    # Times each sample's weight in the loss, before products are rounded: rounding must know it.
    d_logits = d_logits.mul_(d_others[:, None])
    return d_logits, *block.backward(d_logits)


def scale_folded(ops: LossOps[MarginLoss], norms: Tensor | None) -> bool:
    """Say if logits are scale * products: then the embeddings take the scale beforehand."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and norms is None and not ops.spec.tallies


def block_products(
    embeddings: Tensor,
    weight: Tensor,
    inverse_norms: Tensor | None,
    half: torch.dtype | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the products of embeddings with a block's weights, [batch, block * centers].

    Args:
        embeddings: [batch, embedding_size], with the scale where `scale_folded`.
        weight: the block's, [block * centers, embedding_size].
        inverse_norms: of these weights, to make cosines; None for w . x.
        half: the type that both are rounded to; None for theirs.
        out: where the products are written, [block * centers, batch]; None for a new tensor.
    """
    # [classes, batch] in memory: all three matrix products are fastest so.
    products = rounded_matmul(weight, embeddings.T, half, out).T
    return products if inverse_norms is None else products.mul_(inverse_norms)


def logits_buffer(d_weight_rows: Tensor, batch: int) -> Tensor:
    """Return the memory of a block's gradient as a buffer for its products, [rows, batch]."""
    rows = len(d_weight_rows)
    return d_weight_rows.view(-1)[: rows * batch].view(rows, batch)
