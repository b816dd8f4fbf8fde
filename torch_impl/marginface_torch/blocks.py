"""The arithmetic of one block of classes, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.heads import HeadPlan
from marginface.losses import MIN_NORM, MarginLoss
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.stepping import Update


@dataclass(frozen=True)
class Classes:
    """What a pass takes beside the tensors that get gradients.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        plan: blocks of the classes, and what is kept.
        labels: and, for a sample, what follows: see `Seen`.
        one_bias: whether one bias is for all classes.
        update: steps weight and bias in the backward pass; they then get no gradient.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    plan: HeadPlan
    labels: Tensor
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    one_bias: bool = False
    update: Update | None = None

    def rows(self, start: int, stop: int) -> slice | Tensor:
        """Return where the weights of classes from `start` to `stop` stand."""
        centers = self.ops.spec.num_centers
        if self.sampled is None:
            return slice(start * centers, stop * centers)
        return self._centers(self.sampled[start:stop])

    def rows_of_labels(self, labels: Tensor) -> Tensor:
        """Return the rows [batch * centers] of labels' own weights."""
        return self._centers(numbers_of(labels, self))

    def _centers(self, classes: Tensor) -> Tensor:
        centers = torch.arange(self.ops.spec.num_centers, device=classes.device)
        return (classes[:, None] * len(centers) + centers).flatten()


class Terms(NamedTuple):
    """What a sample's loss is made of, [batch] each.

    Args:
        cosines: of the sample's own class (w . x where nothing is normalised); 0 elsewhere.
        bias: of the sample's own class; 0 without one, or elsewhere.
        others: logsumexp, or the sum of softplus, of all other classes' logits.
    """

    cosines: Tensor
    bias: Tensor
    others: Tensor


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    inverse = inverse_norms(norms)
    return vectors * inverse[..., None], torch.where(inverse == 0, 0, norms)


class Own:
    """Each sample's own class, where it is here."""

    def __init__(self, classes: Classes, dtype: torch.dtype) -> None:
        self.spec, self.dtype = classes.ops.spec, dtype
        labels = classes.labels
        self.here = (labels >= 0) & (labels < classes.plan.classes)
        self.labels = torch.where(self.here, labels, 0)
        self.rows = classes.rows_of_labels(self.labels)

    def take(self, weight: Tensor) -> Tensor:
        """Return the weights [batch, centers, embedding_size]; some class's for those elsewhere."""
        found = weight.index_select(0, self.rows).to(self.dtype)
        return found.reshape(-1, self.spec.num_centers, weight.shape[1])

    def products(self, left: Tensor, own: Tensor) -> Tensor:
        """Return cosines, or w . x, [batch]; 0 for those elsewhere."""
        right = unit(own)[0] if self.spec.normalized else own
        return torch.where(self.here, (right * left[:, None]).sum(2).amax(1), 0)


class Block(NamedTuple):
    """Classes from `start` to `stop`.

    Args:
        start: the first.
        stop: the one after the last.
        samples: numbers of the samples whose own class is here.
        columns: where in the block it is.
    """

    start: int
    stop: int
    samples: Tensor
    columns: Tensor


def blocks(classes: Classes) -> Iterator[Block]:
    """Yield the blocks of a plan."""
    plan = classes.plan
    ordered, order = classes.labels.sort()
    edges = torch.arange(plan.blocks + 1, device=ordered.device) * plan.block
    bounds = torch.searchsorted(ordered, edges.clamp_(max=plan.classes)).tolist()
    for k in range(plan.blocks):
        start, (first, last) = k * plan.block, bounds[k : k + 2]
        stop = min(start + plan.block, plan.classes)
        yield Block(start, stop, order[first:last], ordered[first:last] - start)


class Logits:
    """Logits of one block, and the way back to the products that they are made of."""

    def __init__(
        self,
        products: Tensor,
        radius: Tensor | None,
        bias: Tensor | None,
        block: Block,
        classes: Classes,
        *,
        gradient: bool,
    ) -> None:
        self.ops = classes.ops
        spec = self.ops.spec
        self.radius = radius
        self.plain = scale_folded(self.ops, radius)
        self.products = products
        if self.plain:
            self.values = logits = products
        else:
            with torch.set_grad_enabled(gradient):
                self.products = products.detach().requires_grad_(gradient)
                best = self.products
                if spec.num_centers > 1:
                    best = best.reshape(len(best), -1, spec.num_centers).amax(2)
                self.values = self.ops.negatives(best, classes.prepared)
            scale = spec.scale if radius is None else spec.scale * radius[:, None]
            logits = self.values.detach() * scale
        if bias is not None:
            logits = logits + bias_of(bias, block, classes, logits)
        self.limit = spec.logit_limit
        self.free = None if self.limit is None else logits.abs() <= self.limit
        self.logits = logits if self.limit is None else logits.clamp(-self.limit, self.limit)
        self.log_weights = None
        if classes.log_weights is not None:
            self.log_weights = classes.log_weights[block.start : block.stop].to(logits.dtype)

    def back(self, slopes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the slopes to products [batch, block * centers] and to the radius [batch]."""
        if self.plain:
            return slopes, None
        scale, to_radius = self.ops.spec.scale, None
        if self.radius is not None:
            to_radius = (slopes * self.values.detach()).sum(1).mul_(scale)
            slopes = slopes * self.radius[:, None]
        (found,) = torch.autograd.grad(self.values, self.products, slopes * scale)
        return found, to_radius


class Sum:
    """The running logsumexp, or sum of softplus, of blocks of logits."""

    def __init__(self, batch: int, spec: MarginLoss, like: Tensor) -> None:
        self.binary = spec.binary
        self.lowest = torch.finfo(like.dtype).min
        self.top = like.new_full((batch, 1), self.lowest)
        self.total = like.new_zeros(batch, 1)

    def add(self, found: Logits, block: Block) -> None:
        """Add a block; each sample's own class counts for nothing."""
        logits = found.logits
        if found.log_weights is not None and not self.binary:
            logits = logits + found.log_weights
        logits[block.samples, block.columns] = self.lowest
        if self.binary:
            terms = softplus(logits, threshold=40)
            if found.log_weights is not None:
                terms *= found.log_weights.exp()
            self.total += terms.sum(1, keepdim=True)
            return
        top = torch.maximum(self.top, logits.amax(1, keepdim=True))
        parts = torch.sub(logits, top).exp_().sum(1, keepdim=True)
        self.total.mul_((self.top - top).exp_()).add_(parts)
        self.top = top

    def result(self) -> Tensor:
        """Return the sum [batch]."""
        return (self.total if self.binary else self.top + self.total.log()).squeeze(1)


def slopes_of(found: Logits, others: Tensor, block: Block, spec: MarginLoss) -> Tensor:
    """Return the slopes of the sum to a block's logits, as they were before any clamping."""
    logits, log_weights = found.logits, found.log_weights
    if spec.binary:
        slopes = torch.sigmoid(logits)
        if log_weights is not None:
            slopes *= log_weights.exp()
    else:
        slopes = torch.sub(logits, others[:, None])
        slopes = (slopes if log_weights is None else slopes.add_(log_weights)).exp_()
    slopes[block.samples, block.columns] = 0
    return slopes if found.free is None else slopes.mul_(found.free)


def scale_folded(ops: LossOps[MarginLoss], radius: Tensor | None) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and radius is None


def products_of(
    left: Tensor, w: Tensor, inverse: Tensor | None, place: slice, out: Tensor | None = None
) -> Tensor:
    """Return what embeddings make with a block's weights, [batch, block * centers]."""
    # [classes, batch] in memory: all three matrix products are fastest so.
    found = torch.mm(w, left.T, out=out).T
    return found if inverse is None else found.mul_(inverse[place])


def waiting(room: Tensor, batch: int) -> Tensor:
    """Return where in a block's gradient its products wait, [rows, batch]."""
    return room.view(-1)[: len(room) * batch].view(len(room), batch)


def bias_of(bias: Tensor, block: Block, classes: Classes, like: Tensor) -> Tensor:
    """Return the block's part of the bias, or the one bias of all classes."""
    numbers = slice(block.start, block.stop)
    if classes.one_bias:
        return bias.to(like.dtype)
    return bias[numbers if classes.sampled is None else classes.sampled[numbers]].to(like.dtype)


def numbers_of(labels: Tensor, classes: Classes) -> Tensor:
    """Return the classes' own numbers of labels, which may be places in a sample."""
    sampled = classes.sampled
    return labels if sampled is None or len(sampled) == 0 else sampled[labels]


def inverse_norms(norms: Tensor) -> Tensor:
    """Return 1 / norms; 0 for what has no direction."""
    short = norms <= MIN_NORM
    return torch.where(short, 0, 1 / torch.where(short, 1, norms))
