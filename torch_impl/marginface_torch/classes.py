"""One pass over the classes, a block at a time, forward and backward, with its own gradients.

Logits of [batch, classes] never exist: a block's are made, added up and dropped, and made a second
time for the gradient where they could not be kept. One block with everything kept is the ordinary
dense head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from marginface.heads import HeadPlan
from marginface.losses import MIN_NORM, MarginLoss
from marginface_torch.losses.base import LossOps, Tensors


class Update(Protocol):
    """What a step does to some rows of a parameter, once their gradient is there."""

    def __call__(self, name: str, rows: slice | Tensor, gradient: Tensor) -> None:
        """Step rows of `weight` or `bias`."""


@dataclass(frozen=True)
class Classes:
    """What a pass takes beside the tensors that get gradients.

    Args:
        ops: the loss.
        prepared: what `ops.prepare` made, [batch] each.
        labels: [batch]; outside 0 .. classes - 1 where the sample's class is elsewhere.
        plan: blocks, and what is kept.
        sampled: numbers of the classes that count, ascending; None for all. Labels and the plan
            are then places among them.
        log_weights: [sampled], what is added to their logits in the sum over the others.
        update: takes rows and their gradient in the backward pass; weight and bias then get none.
    """

    ops: LossOps[MarginLoss]
    prepared: Tensors
    labels: Tensor
    plan: HeadPlan
    sampled: Tensor | None = None
    log_weights: Tensor | None = None
    update: Update | None = None

    def rows(self, start: int, stop: int) -> slice | Tensor:
        """Return where the weights of classes from `start` to `stop` stand."""
        centers = self.ops.spec.num_centers
        if self.sampled is None:
            return slice(start * centers, stop * centers)
        return self._centers(self.sampled[start:stop])

    def rows_of_labels(self, labels: Tensor) -> Tensor:
        """Return the rows [batch * centers] of labels' own weights."""
        return self._centers(_numbers(labels, self))

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
    inverse = _inverse(norms)
    return vectors * inverse[..., None], torch.where(inverse == 0, 0, norms)


def own_cosines(left: Tensor, weight: Tensor, classes: Classes) -> Tensor:
    """Return each sample's product with its own class, [batch]: `Terms.cosines`, no gradient."""
    with torch.no_grad():
        own = _Own(classes, left.dtype)
        return own.products(left, own.take(weight))


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


class _Block(NamedTuple):
    start: int
    stop: int
    samples: Tensor  # whose own class is in the block
    columns: Tensor  # where in the block it is


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
        block: _Block,
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
            logits = logits + _bias_of(bias, block, classes, logits)
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
        learning = any(ctx.needs_input_grad)
        # Logits wait for the backward pass where it will write the gradient.
        room = None
        if plan.in_gradient and ctx.needs_input_grad[2]:
            room = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        for block in _blocks(classes):
            place = slice(block.start * spec.num_centers, block.stop * spec.num_centers)
            w = weight[classes.rows(block.start, block.stop)].to(left.dtype)
            if inverse is not None:
                inverse[place] = _inverse(torch.linalg.vector_norm(w, dim=1))
            out = None if room is None else _waiting(room[place], len(left))
            products = _products(wide, w, inverse, place, out)
            found = _Logits(products, radius, bias, block, classes, gradient=False)
            total.add(found, block)
            if learning and room is None and block.stop <= plan.kept:
                kept.append(products)
        own = _Own(classes, left.dtype)
        cosines = own.products(left, own.take(weight))
        own_bias = torch.zeros_like(cosines)
        if bias is not None:
            each = bias if len(bias) == 1 else bias[_numbers(own.labels, classes)]
            own_bias = torch.where(own.here, each.to(left.dtype), 0)
        others = total.result()
        ctx.save_for_backward(left, radius, weight, bias, inverse, others, *kept)
        ctx.classes, ctx.room = classes, room
        return cosines, own_bias, others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        left, radius, weight, bias, inverse, others, *kept = ctx.saved_tensors
        classes: Classes = ctx.classes
        room, ctx.room = ctx.room, None  # a second pass back finds no logits there any more
        with torch.autocast(left.device.type, enabled=False):
            found = _gradients(
                left, radius, weight, bias, inverse, others, kept, room, classes, Terms(*gradients)
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
    room: Tensor | None,
    classes: Classes,
    upstream: Terms,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of left, radius, weight and bias."""
    spec = classes.ops.spec
    d_others = upstream.others
    folded = _scale_folded(classes.ops, radius)
    wide = left * spec.scale if folded else left
    right = wide * d_others[:, None]  # what a row of slopes brings to each class's weight
    d_wide = torch.zeros_like(left)
    d_radius = None if radius is None else torch.zeros_like(radius)
    d_weight = room
    if d_weight is None and classes.update is None and weight.requires_grad:
        d_weight = torch.empty_like(weight)
    d_bias = None if bias is None else left.new_zeros(classes.plan.classes)
    own = _Own(classes, left.dtype)
    with torch.enable_grad():
        own_left, own_weight = left.detach().requires_grad_(), own.take(weight).requires_grad_()
        own_cosines = own.products(own_left, own_weight)
    d_own_left, d_own_weight = torch.autograd.grad(
        own_cosines, (own_left, own_weight), upstream.cosines
    )
    for k, block in enumerate(_blocks(classes)):
        place = slice(block.start * spec.num_centers, block.stop * spec.num_centers)
        rows = classes.rows(block.start, block.stop)
        w = weight[rows].to(left.dtype)
        if room is not None:
            products = _waiting(room[place], len(left)).T
        else:
            products = kept[k] if k < len(kept) else _products(wide, w, inverse, place)
        found = _Logits(products, radius, bias, block, classes, gradient=True)
        slopes = _slopes(found, others, block, spec)
        whole = d_weight if d_weight is not None and d_weight.dtype is w.dtype else None
        d_block = torch.empty_like(w) if whole is None else whole[rows]  # there at once, or later
        if d_bias is not None:
            to_bias = d_bias[block.start : block.stop]
            torch.mv(slopes.T, d_others, out=to_bias)
            to_bias.index_add_(0, block.columns, upstream.bias[block.samples])
        to_products, to_radius = found.back(slopes)
        if d_radius is not None and to_radius is not None:
            d_radius += to_radius
        if inverse is None:
            torch.mm(to_products.T, right, out=d_block)
        else:
            # What would only change a weight's length is taken away again.
            along = torch.mv((to_products * found.products.detach()).T, d_others)
            to_products = to_products.mul_(inverse[place])
            torch.mm(to_products.T, right, out=d_block)
            d_block.addcmul_(w, along.mul_(inverse[place] ** 2)[:, None], value=-1)
        d_wide.addmm_(to_products, w)
        by_class = d_block.view(-1, spec.num_centers, d_block.shape[1])
        by_class.index_add_(0, block.columns, d_own_weight[block.samples])
        if classes.update is not None:
            classes.update("weight", rows, d_block)
        elif d_weight is not None and whole is None:
            d_weight[rows] = d_block.to(weight.dtype)
    d_left = d_wide.mul_(d_others[:, None])
    if folded:
        d_left *= spec.scale
    d_left += d_own_left
    if d_radius is not None:
        d_radius *= d_others
    if bias is not None and d_bias is not None:
        d_bias = d_bias if len(bias) > 1 else d_bias.sum(0, keepdim=True)
        if classes.update is not None:
            everything = slice(None) if classes.sampled is None else classes.sampled
            classes.update("bias", everything if len(bias) > 1 else slice(None), d_bias)
            d_bias = None
        else:
            d_bias = d_bias.to(bias.dtype)
    return d_left, d_radius, d_weight, d_bias


class _Sum:
    """The running logsumexp, or sum of softplus, of blocks of logits."""

    def __init__(self, batch: int, spec: MarginLoss, like: Tensor) -> None:
        self.binary = spec.binary
        self.lowest = torch.finfo(like.dtype).min
        self.top = like.new_full((batch, 1), self.lowest)
        self.total = like.new_zeros(batch, 1)

    def add(self, found: _Logits, block: _Block) -> None:
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


def _slopes(found: _Logits, others: Tensor, block: _Block, spec: MarginLoss) -> Tensor:
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


def _scale_folded(ops: LossOps[MarginLoss], radius: Tensor | None) -> bool:
    """Return whether logits are products times the scale: then it goes to the embeddings first."""
    plain = type(ops).negatives is LossOps.negatives and ops.spec.num_centers == 1
    return plain and radius is None


def _products(
    left: Tensor, w: Tensor, inverse: Tensor | None, place: slice, out: Tensor | None = None
) -> Tensor:
    # [classes, batch] in memory: all three matrix products are fastest so.
    found = torch.mm(w, left.T, out=out).T
    return found if inverse is None else found.mul_(inverse[place])


def _waiting(room: Tensor, batch: int) -> Tensor:
    """Return where in a block's gradient its products wait, [rows, batch]."""
    return room.view(-1)[: len(room) * batch].view(len(room), batch)


def _bias_of(bias: Tensor, block: _Block, classes: Classes, like: Tensor) -> Tensor:
    numbers = slice(block.start, block.stop)
    found = (
        bias
        if len(bias) == 1
        else bias[numbers if classes.sampled is None else classes.sampled[numbers]]
    )
    return found.to(like.dtype)


def _numbers(labels: Tensor, classes: Classes) -> Tensor:
    """Return the classes' own numbers of labels, which may be places in a sample."""
    sampled = classes.sampled
    return labels if sampled is None or len(sampled) == 0 else sampled[labels]


def _inverse(norms: Tensor) -> Tensor:
    short = norms <= MIN_NORM
    return torch.where(short, 0, 1 / torch.where(short, 1, norms))
