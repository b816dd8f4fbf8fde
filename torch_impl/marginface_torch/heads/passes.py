"""The way over all blocks of classes, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marginface.errors import MarginfaceError
from marginface.heads import ONCE
from marginface_torch.compiling import compiled
from marginface_torch.heads.blocks import (
    Classes,
    Given,
    Own,
    Terms,
    add_block,
    blocks,
    given_to,
    inverse_norms,
    numbers_of,
    product,
    products_of,
    scale_folded,
    slopes_of_block,
    waiting,
)
from marginface_torch.heads.stepping import all_finite

F = TypeVar("F", bound=Callable[..., Any])
FUSING_DEVICES = {"cuda"}  # where each way over a block's logits costs about as much as a product


class ClassTerms(torch.autograd.Function):
    """`Terms` of embeddings and parameters; what else a pass takes stands in `Classes`."""

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        radius: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        anchor: Tensor | None,  # noqa: ARG004 - asks for the way back where nothing else does
        classes: Classes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the terms; logits stay where the plan has room for them."""
        spec, plan = classes.ops.spec, classes.plan
        wide = left * spec.scale if scale_folded(classes.ops, radius) else left
        inverse = left.new_empty(plan.classes * spec.num_centers) if spec.normalized else None
        add = _fused(add_block, classes, left)
        top = left.new_full((len(left), 1), torch.finfo(left.dtype).min)
        total = torch.zeros_like(top)
        kept: list[Tensor] = []
        learning = any(ctx.needs_input_grad)
        # Logits wait for the backward pass where it will write the gradient.
        room = None
        if plan.in_gradient and ctx.needs_input_grad[2]:
            room = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        for block in blocks(classes):
            place = slice(block.start * spec.num_centers, block.stop * spec.num_centers)
            w = weight[classes.rows(block.start, block.stop)].to(left.dtype)
            if inverse is not None:
                inverse[place] = inverse_norms(torch.linalg.vector_norm(w, dim=1))
            out = None if room is None else waiting(room[place], len(left))
            scales = None if inverse is None else inverse[place]
            products = products_of(wide, w, scales, classes.half, out)
            given = given_to(block, products, radius, bias, classes)
            top, total = add(classes.ops, classes.prepared, given, top, total)
            if learning and room is None and block.stop <= plan.kept:
                kept.append(products)
        own = Own(classes, left.dtype)
        cosines = own.products(left, own.take(weight))
        own_bias = torch.zeros_like(cosines)
        if bias is not None:
            each = bias if classes.one_bias else bias[numbers_of(own.labels, classes)]
            own_bias = torch.where(own.here, each.to(left.dtype), 0)
        others = (total if spec.binary else top + total.log()).squeeze(1)
        ctx.save_for_backward(left, radius, weight, bias, inverse, others, *kept)
        ctx.classes, ctx.room = classes, room
        return cosines, own_bias, others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` took; step the parameters if that is wanted."""
        classes: Classes = ctx.classes
        try:
            left, radius, weight, bias, inverse, others, *kept = ctx.saved_tensors
        except RuntimeError as error:
            if classes.update is None:
                raise
            raise MarginfaceError(ONCE) from error
        room, ctx.room = ctx.room, None  # a second pass back finds no logits there any more
        with torch.autocast(left.device.type, enabled=False):
            found = _gradients(
                left,
                radius,
                weight,
                bias,
                inverse,
                others,
                kept,
                room,
                classes,
                Terms(*gradients),
                left_learns=ctx.needs_input_grad[0],
            )
        return *found, None, None


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
    *,
    left_learns: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of left (None unless it learns), radius, weight and bias."""
    spec = classes.ops.spec
    folded = scale_folded(classes.ops, radius)
    wide = left * spec.scale if folded else left
    d_wide = torch.zeros_like(left) if left_learns else None
    d_radius = None if radius is None else torch.zeros_like(radius)
    d_weight = room
    if d_weight is None and classes.update is None and weight.requires_grad:
        d_weight = torch.empty_like(weight)
    d_bias = None if bias is None else left.new_zeros(classes.plan.classes)
    slopes_to = _fused(slopes_of_block, classes, left)
    own = Own(classes, left.dtype)
    with torch.enable_grad():
        own_left = left.detach().requires_grad_(left_learns)
        own_weight = own.take(weight).requires_grad_()
        own_cosines = own.products(own_left, own_weight)
    sources = (own_weight, own_left) if left_learns else (own_weight,)
    d_own_weight, *d_own_left = torch.autograd.grad(own_cosines, sources, upstream.cosines)
    finite = classes.update is not None and all_finite(left, *upstream)
    for k, block in enumerate(blocks(classes)):
        place = slice(block.start * spec.num_centers, block.stop * spec.num_centers)
        rows = classes.rows(block.start, block.stop)
        w = weight[rows].to(left.dtype)
        scales = None if inverse is None else inverse[place]
        if room is not None:
            products = waiting(room[place], len(left)).T
        elif k < len(kept):
            products = kept[k]
        else:
            products = products_of(wide, w, scales, classes.half)
        given = given_to(block, products, radius, bias, classes)
        slopes, to_products, to_radius = slopes_to(
            classes.ops, classes.prepared, given, others, upstream.others
        )
        whole = d_weight if d_weight is not None and d_weight.dtype is w.dtype else None
        d_block = torch.empty_like(w) if whole is None else whole[rows]  # there at once, or later
        if d_bias is not None:
            to_bias = d_bias[block.start : block.stop]
            torch.sum(slopes, 0, out=to_bias)
            to_bias.index_add_(0, block.columns, upstream.bias[block.samples])
        if d_radius is not None and to_radius is not None:
            d_radius += to_radius
        along = None
        if scales is not None:
            # What would only change a weight's length is taken away again.
            along = (to_products * products).sum(0).mul_(scales**2)
            to_products = to_products.mul_(scales)
        product(to_products.T, wide, classes.half, d_block)
        if along is not None:
            d_block.addcmul_(w, along[:, None], value=-1)
        if d_wide is None:
            pass
        elif classes.half is None:
            d_wide.addmm_(to_products, w)
        else:
            d_wide += product(to_products, w, classes.half)
        by_class = d_block.view(-1, spec.num_centers, d_block.shape[1])
        by_class.index_add_(0, block.columns, d_own_weight[block.samples])
        if classes.update is not None:
            classes.update.step("weight", rows, d_block, finite=finite)
        elif d_weight is not None and whole is None:
            d_weight[rows] = d_block.to(weight.dtype)
    d_left = d_wide
    if d_left is not None:
        d_left = d_left.mul_(spec.scale) if folded else d_left
        d_left += d_own_left[0]
    if bias is not None and d_bias is not None:
        d_bias = d_bias.sum(0, keepdim=True) if classes.one_bias else d_bias
        if classes.update is not None:
            sampled = None if classes.one_bias else classes.sampled
            stepped = slice(None) if sampled is None else sampled
            classes.update.step("bias", stepped, d_bias, finite=finite)
            d_bias = None
        else:
            d_bias = d_bias.to(bias.dtype)
    return d_left, d_radius, d_weight, d_bias


def _fused(function: F, classes: Classes, like: Tensor) -> F:
    """Return a function, compiled where products are in half precision on a GPU."""
    if classes.half is None or like.device.type not in FUSING_DEVICES:
        return function
    found: F = _compiled(function)
    return found


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    fused = compiled(function, dynamic=True)

    def call(ops: Any, prepared: Any, given: Given, *rest: Any) -> Any:
        # As many as a block has, which would be compiled anew; comparing all labels is fused.
        return fused(ops, prepared, given._replace(samples=None, columns=None), *rest)

    return call
