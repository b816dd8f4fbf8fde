"""One pass over the classes, a block at a time, forward and backward, with its own gradients.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from marginface.heads import HeadPlan
from marginface.losses import MIN_NORM, MarginLoss
from marginface_torch.losses.base import LossOps, Tensors


@dataclass(frozen=True)
class Classes:
    """What a pass takes beside the tensors that get gradients.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        labels: [batch]; outside 0 .. classes - 1 where the sample's class is elsewhere.
        plan: blocks, and what is kept.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    labels: Tensor
    plan: HeadPlan


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
    inverse = _inverse(norms)
    return vectors * inverse[..., None], torch.where(inverse == 0, 0, norms)


def own_cosines(left: Tensor, weight: Tensor, classes: Classes) -> Tensor:
    """Return each sample's product with its own class, [batch]: `Terms.cosines`, no gradient."""
    with torch.no_grad():
        own = _Own(classes, left.dtype)
        return own.spread(own.products(left[own.samples], own.take(weight)), len(left))


def class_terms(
    left: Tensor, radius: Tensor | None, weight: Tensor, bias: Tensor | None, classes: Classes
) -> Terms:
    """Return what the losses of all samples are made of.

    Args:
        left: [batch, embedding_size], of length 1 where the loss is normalised.
        radius: [batch], what logits are multiplied by besides the loss's scale; None for nothing.
        weight: [classes * centers, embedding_size].
        bias: [classes], [1] or None.
        classes: everything else.
    """
    found = _ClassTerms.apply(left, radius, weight, bias, classes)  # type: ignore[no-untyped-call]
    return Terms(*found)


class _Own:
    """The samples whose class is here, and that class's weights."""

    def __init__(self, classes: Classes, dtype: torch.dtype) -> None:
        self.spec = classes.ops.spec
        labels = classes.labels
        self.dtype = dtype
        self.samples = ((labels >= 0) & (labels < classes.plan.classes)).nonzero().squeeze(1)
        self.labels = labels[self.samples]
        centers = torch.arange(self.spec.num_centers, device=labels.device)
        self.rows = (self.labels[:, None] * self.spec.num_centers + centers).flatten()

    def take(self, weight: Tensor) -> Tensor:
        """Return the weights [samples, centers, embedding_size]."""
        found = weight.index_select(0, self.rows).to(self.dtype)
        return found.reshape(-1, self.spec.num_centers, weight.shape[1])

    def products(self, left: Tensor, own: Tensor) -> Tensor:
        """Return cosines, or w . x, [samples]."""
        right = unit(own)[0] if self.spec.normalized else own
        return (right * left[:, None]).sum(2).amax(1)

    def spread(self, values: Tensor, batch: int) -> Tensor:
        """Return values of these samples among all of the batch, [batch, ...]; 0 elsewhere."""
        return values.new_zeros(batch, *values.shape[1:]).index_copy_(0, self.samples, values)


class _Block(NamedTuple):
    start: int
    stop: int
    samples: Tensor  # whose own class is in the block
    columns: Tensor  # where in the block it is

    def rows(self, centers: int) -> slice:
        return slice(self.start * centers, self.stop * centers)


def _blocks(classes: Classes) -> Iterator[_Block]:
    plan = classes.plan
    ordered, order = classes.labels.sort()
    edges = torch.arange(plan.blocks + 1, device=ordered.device) * plan.block
    bounds = torch.searchsorted(ordered, edges.clamp_(max=plan.classes)).tolist()
    for k in range(plan.blocks):
        start, (first, last) = k * plan.block, bounds[k : k + 2]
        stop = min(start + plan.block, plan.classes)
        yield _Block(start, stop, order[first:last], ordered[first:last] - start)


class _Logits:
    """Logits of one block, and the way back to the products that they are made of."""

    def __init__(
        self,
        products: Tensor,
        radius: Tensor | None,
        bias: Tensor | None,
        classes: Classes,
        *,
        gradient: bool,
    ) -> None:
        self.ops = classes.ops
        spec = self.ops.spec
        self.radius = radius
        self.plain = _scale_folded(self.ops, radius)
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
            logits = logits + bias
        self.limit = spec.logit_limit
        self.free = None if self.limit is None else logits.abs() <= self.limit
        self.logits = logits if self.limit is None else logits.clamp(-self.limit, self.limit)

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


class _ClassTerms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        radius: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        classes: Classes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        spec, plan = classes.ops.spec, classes.plan
        wide = left * spec.scale if _scale_folded(classes.ops, radius) else left
        inverse = left.new_empty(plan.classes * spec.num_centers) if spec.normalized else None
        total = _Sum(len(left), spec, left)
        kept: list[Tensor] = []
        for block in _blocks(classes):
            rows = block.rows(spec.num_centers)
            w = weight[rows].to(left.dtype)
            if inverse is not None:
                inverse[rows] = _inverse(torch.linalg.vector_norm(w, dim=1))
            products = _products(wide, w, inverse, rows)
            found = _Logits(products, radius, _bias_of(bias, block, left), classes, gradient=False)
            total.add(found.logits, block)
            if block.stop <= plan.kept:
                kept.append(products)
        own = _Own(classes, left.dtype)
        cosines = own.spread(own.products(left[own.samples], own.take(weight)), len(left))
        own_bias = torch.zeros_like(cosines)
        if bias is not None:
            each = bias.to(left.dtype).expand(plan.classes)[own.labels]
            own_bias = own.spread(each, len(left))
        others = total.result()
        ctx.save_for_backward(left, radius, weight, bias, inverse, others, *kept)
        ctx.classes = classes
        return cosines, own_bias, others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        left, radius, weight, bias, inverse, others, *kept = ctx.saved_tensors
        classes: Classes = ctx.classes
        with torch.autocast(left.device.type, enabled=False):
            found = _gradients(
                left, radius, weight, bias, inverse, others, kept, classes, Terms(*gradients)
            )
        return *found, None


def _gradients(
    left: Tensor,
    radius: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    inverse: Tensor | None,
    others: Tensor,
    kept: list[Tensor],
    classes: Classes,
    upstream: Terms,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """Return the gradients of left, radius, weight and bias."""
    spec = classes.ops.spec
    d_others = upstream.others
    folded = _scale_folded(classes.ops, radius)
    wide = left * spec.scale if folded else left
    right = wide * d_others[:, None]  # what a row of slopes brings to each class's weight
    d_wide = torch.zeros_like(left)
    d_radius = None if radius is None else torch.zeros_like(radius)
    d_weight = torch.empty_like(weight)
    d_bias = None if bias is None else left.new_zeros(classes.plan.classes)
    own = _Own(classes, left.dtype)
    with torch.enable_grad():
        own_left, own_weight = left[own.samples].requires_grad_(), own.take(weight).requires_grad_()
        own_cosines = own.products(own_left, own_weight)
    d_own_left, d_own_weight = torch.autograd.grad(
        own_cosines, (own_left, own_weight), upstream.cosines[own.samples]
    )
    for k, block in enumerate(_blocks(classes)):
        rows = block.rows(spec.num_centers)
        w = weight[rows].to(left.dtype)
        products = kept[k] if k < len(kept) else _products(wide, w, inverse, rows)
        found = _Logits(products, radius, _bias_of(bias, block, left), classes, gradient=True)
        slopes = _slopes(found, others, block, spec)
        if d_bias is not None:
            torch.mv(slopes.T, d_others, out=d_bias[block.start : block.stop])
        to_products, to_radius = found.back(slopes)
        if d_radius is not None and to_radius is not None:
            d_radius += to_radius
        if inverse is None:
            d_block = to_products.T @ right
        else:
            # What would only change a weight's length is taken away again.
            along = torch.mv((to_products * found.products.detach()).T, d_others)
            to_products = to_products.mul_(inverse[rows])
            d_block = (to_products.T @ right).addcmul_(
                w, along.mul_(inverse[rows] ** 2)[:, None], value=-1
            )
        d_wide.addmm_(to_products, w)
        d_weight[rows] = d_block
    d_weight.index_add_(0, own.rows, d_own_weight.flatten(0, 1).to(d_weight.dtype))
    d_left = d_wide.mul_(d_others[:, None])
    if folded:
        d_left *= spec.scale
    d_left.index_add_(0, own.samples, d_own_left)
    if d_radius is not None:
        d_radius *= d_others
    if bias is not None and d_bias is not None:
        d_bias.index_add_(0, own.labels, upstream.bias[own.samples])
        d_bias = (d_bias if len(bias) > 1 else d_bias.sum(0, keepdim=True)).to(bias.dtype)
    return d_left, d_radius, d_weight, d_bias


class _Sum:
    """The running logsumexp, or sum of softplus, of blocks of logits."""

    def __init__(self, batch: int, spec: MarginLoss, like: Tensor) -> None:
        self.binary = spec.binary
        self.lowest = torch.finfo(like.dtype).min
        self.top = like.new_full((batch, 1), self.lowest)
        self.total = like.new_zeros(batch, 1)

    def add(self, logits: Tensor, block: _Block) -> None:
        """Add a block; each sample's own class counts for nothing."""
        logits[block.samples, block.columns] = self.lowest
        if self.binary:
            self.total += softplus(logits, threshold=40).sum(1, keepdim=True)
            return
        top = torch.maximum(self.top, logits.amax(1, keepdim=True))
        parts = torch.sub(logits, top).exp_().sum(1, keepdim=True)
        self.total.mul_((self.top - top).exp_()).add_(parts)
        self.top = top

    def result(self) -> Tensor:
        """Return the sum [batch]."""
        return (self.total if self.binary else self.top + self.total.log()).squeeze(1)


def _slopes(found: _Logits, others: Tensor, block: _Block, spec: MarginLoss) -> Tensor:
    """Return the slopes of the sum to a block's logits, as they were before any clamping."""
    logits = found.logits
    slopes = torch.sigmoid(logits) if spec.binary else torch.sub(logits, others[:, None]).exp_()
    slopes[block.samples, block.columns] = 0
    return slopes if found.free is None else slopes.mul_(found.free)


def _scale_folded(ops: LossOps[MarginLoss], radius: Tensor | None) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and radius is None


def _products(left: Tensor, w: Tensor, inverse: Tensor | None, rows: slice) -> Tensor:
    found = left @ w.T
    return found if inverse is None else found.mul_(inverse[rows])


def _bias_of(bias: Tensor | None, block: _Block, like: Tensor) -> Tensor | None:
    if bias is None:
        return None
    found = bias if len(bias) == 1 else bias[block.start : block.stop]
    return found.to(like.dtype)


def _inverse(norms: Tensor) -> Tensor:
    short = norms <= MIN_NORM
    return torch.where(short, 0, 1 / torch.where(short, 1, norms))
