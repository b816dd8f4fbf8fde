"""Classes shared among processes: each has a range of them, and all see the whole batch.

A process's loss is the mean over its own samples, as in data parallelism, so that gradients
averaged over the processes are those of the whole batch. Class weights are not averaged: their
gradient is that of the mean over all samples from the start. `passes` draws the order of events.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from marginface.heads import Shard
from marginface.losses.values import Sum
from marginface_torch.heads.blocks import Terms
from marginface_torch.processes import add_up, gather


def embeddings_of_all(embeddings: Tensor, shard: Shard) -> Tensor:
    """Gather the embeddings of all processes; the backward pass adds up their gradients.

    All have batches of one size.
    """
    gathered: Tensor = _OfAll.apply(embeddings, shard)  # type: ignore[no-untyped-call]
    return gathered


def combine(terms: Terms, shard: Shard, adds: Sum) -> Terms:
    """Combine each shard's terms into those of this process's samples over all classes."""
    return Terms(*_Combine.apply(*terms, shard, adds))  # type: ignore[no-untyped-call]


def added_gradient(parameter: Tensor) -> Tensor:
    """Return a parameter that is equal on all processes; the backward pass adds up its gradient."""
    shared: Tensor = _AddedGradient.apply(parameter)  # type: ignore[no-untyped-call]
    return shared


def own_part(whole: Tensor, shard: Shard) -> Tensor:
    """Return this process's rows of values that have a row for each sample of all processes."""
    return whole.chunk(shard.count)[shard.index]


class _OfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, shard: Shard) -> Tensor:
        ctx.count = shard.count
        return gather(embeddings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        count: int = ctx.count
        d_gathered = gradients[0].contiguous()
        d_own = d_gathered.new_empty(len(d_gathered) // count, *d_gathered.shape[1:])
        distributed.reduce_scatter(d_own, list(d_gathered.chunk(count)))
        # The mean over the processes, which data parallelism takes next, divides by it again.
        return d_own.mul_(count), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cosines: Tensor,
        bias: Tensor,
        others: Tensor,
        tally: Tensor,
        shard: Shard,
        adds: Sum,
    ) -> tuple[Tensor, ...]:
        rows = torch.cat([torch.stack([cosines, bias, others]), tally])
        shards = gather(rows[None])  # [processes, rows, batch]
        # A class is in one shard; its cosine and bias are 0 in all others.
        if adds == "logsumexp":
            total = shards[:, 2].logsumexp(0)
            ctx.share = (others - total).exp_()  # d total / d others
        else:
            total, ctx.share = shards[:, 2].sum(0), None
        whole = shards.sum(0)
        whole[2] = total
        own = whole.chunk(shard.count, dim=1)[shard.index]
        counted = own[3:]
        ctx.mark_non_differentiable(counted)
        return own[0], own[1], own[2], counted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Each process has the gradients of its own samples' terms: [processes, 3, own samples].
        gathered = gather(torch.stack(gradients[:3])[None])
        # The mean over the processes, here at once, as nobody averages class weights later.
        d_cosines, d_bias, d_others = gathered.transpose(0, 1).flatten(1) / len(gathered)
        d_others = d_others if ctx.share is None else d_others * ctx.share
        return d_cosines, d_bias, d_others, None, None, None


class _AddedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor) -> Tensor:  # noqa: ARG004
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return add_up(gradients[0])
