"""A loss's state: what a step prepares from its target cosines, and what goes on to the next."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from marginface.heads import Shard
from marginface.losses import MarginLoss
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.processes import add_up, gather, replicas


def prepare_step(
    ops: LossOps[MarginLoss],
    cosines: Tensor,
    norms: Tensor,
    state: Tensors,
    draws: Tensors,
    shard: Shard | None,
    *,
    training: bool,
) -> tuple[Tensors, Tensors, Tensors]:
    """Let the loss prepare a step from the target cosines of all processes' samples.

    Args:
        ops: the loss.
        cosines: of the target classes, [batch]; with a shard of all processes' samples, 0 for a
            class that is elsewhere.
        norms: of the embeddings, [batch], of the same samples.
        state: of the loss.
        draws: of this process's samples.
        shard: this process's; None where every process has all classes.
        training: False looks at this process's samples alone, unless classes are shared.

    Returns:
        the prepared values for the pass over the classes, those for this process's own samples,
        and the next state.
    """
    batch = len(cosines)
    if shard is not None:  # all samples are here, but each has its cosine in one shard
        cosines, batch = add_up(cosines), batch // shard.count
    elif replicas() > 1 and training and (state or draws):
        cosines, norms = gather(cosines), gather(norms)
    else:
        prepared, next_state = ops.prepare(cosines, norms, state, draws)
        return prepared, prepared, next_state
    draws = {name: gather(value) for name, value in draws.items()}
    all_prepared, next_state = ops.prepare(cosines, norms, state, draws)
    first = distributed.get_rank() * batch
    prepared = {name: value[first : first + batch] for name, value in all_prepared.items()}
    return prepared if shard is None else all_prepared, prepared, next_state


@torch.no_grad()
def carry_state(
    state: Tensors, next_state: Tensors, sums: Tensors, calls: Tensor, accumulation: int
) -> None:
    """Move the state on, in place; with accumulation, at the last call of an optimizer step.

    Args:
        state: of the loss.
        next_state: what this call makes of it.
        sums: of `next_state` since the last optimizer step; empty without accumulation.
        calls: number of calls since then.
        accumulation: calls to one optimizer step.
    """
    if accumulation == 1:
        for name, value in state.items():
            value.copy_(next_state[name])
        return
    calls_now = calls + 1
    last = calls_now == accumulation
    calls.copy_(torch.where(last, 0, calls_now))
    for name, value in state.items():
        total = sums[name] + next_state[name]
        whole = None if value.is_floating_point() else "floor"
        mean = torch.div(total, calls_now, rounding_mode=whole)
        value.copy_(torch.where(last, mean, value))
        sums[name].copy_(torch.where(last, 0, total))
