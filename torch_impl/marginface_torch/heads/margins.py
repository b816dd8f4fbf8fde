"""Learned margins, one a class, which only the samples of the class see.

They are the head's bias, and have no part in the pass over the classes: each sample needs its own,
and the loss the mean of all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marginface.heads import Shard
from marginface_torch.heads.blocks import PassInputs, TargetClasses
from marginface_torch.heads.sharding import own_part
from marginface_torch.heads.stepping import may_step
from marginface_torch.processes import add_up, gather


def class_margins(
    margins: Tensor, inputs: PassInputs, shard: Shard | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the margins of this process's samples' own classes [batch], and the mean of all.

    Args:
        margins: of this process's classes; those outside [0, 1] count as its end.
        inputs: of the pass; the mean is over its classes, by the weights of a sample.
        shard: this process's; None where every process has all classes.
        dtype: of the computation.
    """
    # Margins that are stepped need no gradient, but the backward pass that steps them.
    anchor = None if inputs.update is None else margins.new_zeros((), requires_grad=True)
    # PyTorch gives `apply` no types.
    own, mean = _ClassMargins.apply(margins, anchor, inputs, shard, dtype)  # type: ignore[no-untyped-call]
    return own, mean


class _ClassMargins(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        margins: Tensor,
        anchor: Tensor | None,  # noqa: ARG004 - asks for a backward pass where nothing else does
        inputs: PassInputs,
        shard: Shard | None,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        classes = slice(None) if inputs.sampled is None else inputs.sampled
        of_pass, target = margins[classes].to(dtype).clamp(0, 1), TargetClasses(inputs, dtype)
        own = margins[inputs.class_numbers(target.places)].to(dtype).clamp(0, 1)
        own = torch.where(target.here, own, 0)
        weights = torch.ones_like(of_pass)
        if inputs.log_weights is not None:
            weights = inputs.log_weights.to(dtype).exp()
        sums = torch.stack([(weights * of_pass).sum(), weights.sum()])
        if shard is not None:  # a class is in one shard
            own, sums = own_part(add_up(own), shard), add_up(sums)
        ctx.inputs, ctx.shard, ctx.classes = inputs, shard, classes
        ctx.dtype, ctx.shares = margins.dtype, weights / sums[1]  # d mean / d margins
        return own, sums[0] / sums[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, d_own, d_mean = ctx.inputs, *gradients
        if ctx.shard is not None:
            # The mean over the processes, here at once, as nobody averages it later.
            d_own = gather(d_own) / ctx.shard.count
        target, d_margins = TargetClasses(inputs, d_own.dtype), ctx.shares * d_mean
        d_margins.index_add_(0, target.places[target.here], d_own[target.here])
        if inputs.update is None:
            return d_margins.to(ctx.dtype), None, None, None, None
        # By everybody's gradients: all shards leave a step out, or none.
        finite = may_step(inputs.update.settings, d_own, d_margins)
        inputs.update.step("bias", ctx.classes, d_margins, finite=finite, within=(0, 1))
        return None, None, None, None, None
