"""Classes shared among processes: each has a range of them, all see the whole batch.

A process's loss is the mean over its own samples, as in data parallelism, so that gradients
averaged over the processes are those of the whole batch. Class weights are not averaged: their
gradient is at once that of the mean over all samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from marginface.heads import Shard
from marginface_torch.heads.blocks import Terms
from marginface_torch.processes import add_up, gather


def embeddings_of_all(embeddings: Tensor, shard: Shard) -> Tensor:
    """Return the embeddings of all processes; their gradient is added up over them.

    All have batches of one size.
    """
    found: Tensor = _OfAll.apply(embeddings, shard)  # type: ignore[no-untyped-call]
    return found


def combine(terms: Terms, shard: Shard, *, binary: bool) -> Terms:
    """Return the terms of this process's samples over all classes, of those over each shard's."""
    return Terms(*_Combine.apply(*terms, shard, binary))  # type: ignore[no-untyped-call]


def added_gradient(parameter: Tensor) -> Tensor:
    """Return a parameter that all processes have alike; its gradient is added up over them."""
    found: Tensor = _AddedGradient.apply(parameter)  # type: ignore[no-untyped-call]
    return found


class _OfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, shard: Shard) -> Tensor:
        ctx.count = shard.count
        return gather(embeddings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        count: int = ctx.count
        whole = gradients[0].contiguous()
        own = whole.new_empty(len(whole) // count, *whole.shape[1:])
        distributed.reduce_scatter(own, list(whole.chunk(count)))
        # Whoever averages gradients over the processes takes the factor away again.
        return own.mul_(count), None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cosines: Tensor, bias: Tensor, others: Tensor, shard: Shard, binary: bool
    ) -> tuple[Tensor, ...]:
        shards = gather(torch.stack([cosines, bias, others])[None])
        total = shards[:, 2].sum(0) if binary else shards[:, 2].logsumexp(0)
        ctx.share = None if binary else (others - total).exp_()
        found = torch.stack([shards[:, 0].sum(0), shards[:, 1].sum(0), total])
        return found.chunk(shard.count, dim=1)[shard.index].unbind(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        whole = gather(torch.stack(gradients)[None])  # [processes, 3, batch]
        cosines, bias, others = whole.transpose(0, 1).flatten(1) / len(whole)
        return cosines, bias, others if ctx.share is None else others * ctx.share, None, None


class _AddedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor) -> Tensor:  # noqa: ARG004
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return add_up(gradients[0])
