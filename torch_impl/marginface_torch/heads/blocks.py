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
from marginface_torch.heads.stepping import Update
from marginface_torch.losses.base import LossOps, Tensors

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


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

    @property
    def half(self) -> torch.dtype | None:
        """Return the type that factors of matrix products are rounded to."""
        return HALF.get(self.plan.precision)

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
        labels: of all samples [batch], counted from `start`.
    """

    start: int
    stop: int
    samples: Tensor
    columns: Tensor
    labels: Tensor


def blocks(classes: Classes) -> Iterator[Block]:
    """Yield the blocks of a plan."""
    plan = classes.plan
    ordered, order = classes.labels.sort()
    edges = torch.arange(plan.blocks + 1, device=ordered.device) * plan.block
    bounds = torch.searchsorted(ordered, edges.clamp_(max=plan.classes)).tolist()
    for k in range(plan.blocks):
        start, (first, last) = k * plan.block, bounds[k : k + 2]
        stop = min(start + plan.block, plan.classes)
        samples, columns = order[first:last], ordered[first:last] - start
        yield Block(start, stop, samples, columns, classes.labels - start)


class Given(NamedTuple):
    """What a block's logits are made of, and where in it samples find their own.

    Args:
        products: [batch, block * centers].
        radius: [batch], what logits are multiplied by besides the loss's scale; None for nothing.
        bias: [block], [1] or None.
        log_weights: [block], what a sample's logits count more or less; None for all alike.
        samples: numbers of the samples whose own class is here; None to look for it in labels.
        columns: where in the block it is.
        labels: of all samples [batch], counted from the block's first class.
    """

    products: Tensor
    radius: Tensor | None
    bias: Tensor | None
    log_weights: Tensor | None
    samples: Tensor | None
    columns: Tensor | None
    labels: Tensor

    def fill_own(self, values: Tensor, value: float) -> Tensor:
        """Return values with another at samples' own classes, [batch, block]; maybe in place."""
        if self.samples is None:
            columns = torch.arange(values.shape[1], device=values.device)
            return torch.where(columns == self.labels[:, None], value, values)
        values[self.samples, self.columns] = value
        return values


class Logits:
    """Logits of one block, and the way back to the products that they are made of."""

    def __init__(
        self, ops: LossOps[MarginLoss], prepared: Tensors, given: Given, *, gradient: bool
    ) -> None:
        self.ops = ops
        spec, products = ops.spec, given.products
        self.radius = given.radius
        self.plain = scale_folded(ops, given.radius)
        self.products = products
        if self.plain:
            self.values = logits = products
        else:
            with torch.set_grad_enabled(gradient):
                self.products = products.detach().requires_grad_(gradient)
                best = self.products
                if spec.num_centers > 1:
                    best = best.reshape(len(best), -1, spec.num_centers).amax(2)
                self.values = ops.negatives(best, prepared)
            scale = spec.scale if self.radius is None else spec.scale * self.radius[:, None]
            logits = self.values.detach() * scale
        if given.bias is not None:
            logits = logits + given.bias
        limit = spec.logit_limit
        self.free = None if limit is None else logits.abs() <= limit
        self.logits = logits if limit is None else logits.clamp(-limit, limit)

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


def given_to(
    block: Block, products: Tensor, radius: Tensor | None, bias: Tensor | None, classes: Classes
) -> Given:
    """Return what a block's logits are made of.

    Args:
        block: some of the classes.
        products: the block's.
        radius: [batch] or None.
        bias: of all classes, [classes] or [1], or None.
        classes: everything else.
    """
    numbers = slice(block.start, block.stop)
    if bias is not None and not classes.one_bias:
        bias = bias[numbers if classes.sampled is None else classes.sampled[numbers]]
    log_weights = classes.log_weights
    return Given(
        products,
        radius,
        None if bias is None else bias.to(products.dtype),
        None if log_weights is None else log_weights[numbers].to(products.dtype),
        *block[2:],
    )


def add_block(
    ops: LossOps[MarginLoss], prepared: Tensors, given: Given, top: Tensor, total: Tensor
) -> tuple[Tensor, Tensor]:
    """Return highest logit and sum, [batch, 1] each, with a block added.

    The sum is of exp(logit - highest), or of softplus; a sample's own class counts for nothing.
    """
    logits, log_weights = Logits(ops, prepared, given, gradient=False).logits, given.log_weights
    if log_weights is not None and not ops.spec.binary:
        logits = logits + log_weights
    logits = given.fill_own(logits, torch.finfo(logits.dtype).min)
    if ops.spec.binary:
        terms = softplus(logits, threshold=40)
        if log_weights is not None:
            terms *= log_weights.exp()
        return top, total + terms.sum(1, keepdim=True)
    highest = torch.maximum(top, logits.amax(1, keepdim=True))
    parts = torch.sub(logits, highest).exp_().sum(1, keepdim=True)
    return highest, total * (top - highest).exp_() + parts


def slopes_of_block(
    ops: LossOps[MarginLoss], prepared: Tensors, given: Given, others: Tensor, d_others: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the slopes of the loss to a block's logits, to its products and the radius.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        given: what the logits are made of.
        others: `Terms.others`.
        d_others: the slopes of the loss to it, [batch].
    """
    found, log_weights = Logits(ops, prepared, given, gradient=True), given.log_weights
    if ops.spec.binary:
        slopes = torch.sigmoid(found.logits)
        if log_weights is not None:
            slopes *= log_weights.exp()
    else:
        slopes = torch.sub(found.logits, others[:, None])
        slopes = (slopes if log_weights is None else slopes.add_(log_weights)).exp_()
    slopes = given.fill_own(slopes, 0)
    if found.free is not None:  # as they were before any clamping
        slopes = slopes.mul_(found.free)
    # Samples' shares meet before they are rounded: what is small beside others may be all there is.
    slopes = slopes.mul_(d_others[:, None])
    return slopes, *found.back(slopes)


def scale_folded(ops: LossOps[MarginLoss], radius: Tensor | None) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and radius is None


def product(a: Tensor, b: Tensor, half: torch.dtype | None, out: Tensor | None = None) -> Tensor:
    """Return a @ b; with `half`, of both rounded to that type. Sums are never in half precision.

    The exponents of float16 do not reach far: the highest value of b, and of each row of a, becomes
    1 to 2, from which it has 24 binary places down. Powers of two are exact.
    """
    if half is None:
        return torch.mm(a, b, out=out)
    one, other, by = a, b, None
    if half is torch.float16:
        rows, whole = _power(a.abs().amax(1, keepdim=True)), _power(b.abs().amax())
        one, other, by = a / rows, b / whole, rows * whole
    one, other = one.to(half), other.to(half)
    if a.is_cuda and a.dtype is torch.float32:
        found = torch.mm(one, other, out_dtype=a.dtype, out=out)
    else:  # no kernel sums wider than it takes, but wider numbers give the same
        found = torch.mm(one.to(a.dtype), other.to(a.dtype), out=out)
    return found if by is None else found.mul_(by)


def _power(highest: Tensor) -> Tensor:
    """Return the power of two at or below each value; 1 for 0."""
    return torch.exp2(torch.where(highest > 0, highest, 1).log2().floor())


def products_of(
    left: Tensor,
    w: Tensor,
    inverse: Tensor | None,
    half: torch.dtype | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return what embeddings make with a block's weights, [batch, block * centers].

    Args:
        left: [batch, embedding_size].
        w: [block * centers, embedding_size].
        inverse: what the products of each weight are multiplied by; None for nothing.
        half: the type that both are rounded to; None for none.
        out: where to.
    """
    # [classes, batch] in memory: all three matrix products are fastest so.
    found = product(w, left.T, half, out).T
    return found if inverse is None else found.mul_(inverse)


def waiting(room: Tensor, batch: int) -> Tensor:
    """Return where in a block's gradient its products wait, [rows, batch]."""
    return room.view(-1)[: len(room) * batch].view(len(room), batch)


def numbers_of(labels: Tensor, classes: Classes) -> Tensor:
    """Return the classes' own numbers of labels, which may be places in a sample."""
    sampled = classes.sampled
    return labels if sampled is None or len(sampled) == 0 else sampled[labels]


def inverse_norms(norms: Tensor) -> Tensor:
    """Return 1 / norms; 0 for what has no direction."""
    short = norms <= MIN_NORM
    return torch.where(short, 0, 1 / torch.where(short, 1, norms))
