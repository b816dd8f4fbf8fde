"""A loss's state: what a step prepares from its target cosines, and what goes on to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from marginface.heads import Shard
from marginface.losses import MarginLoss
from marginface_torch.losses.base import LossOps, Tensors
from marginface_torch.processes import add_up, gather, replicas


class PreparedStep(NamedTuple):
    """What a loss prepared a step with.

    Args:
        of_all: values for the pass over the classes, [batch] each; with a shard, of the samples of
            all processes.
        own: values for this process's own samples.
        radius: what logits are multiplied by.
        state: the next, before `finish_step`.
    """

    of_all: Tensors
    own: Tensors
    radius: Tensor | float
    state: Tensors


def prepare_step(
    ops: LossOps[MarginLoss],
    cosines: Tensor,
    norms: Tensor,
    state: Tensors,
    draws: Tensors,
    shard: Shard | None,
    look_ahead: Callable[[PreparedStep], Tensor],
    *,
    training: bool,
) -> PreparedStep:
    """Let the loss prepare a step from the target cosines of all processes' samples.

    Args:
        ops: the loss.
        cosines: of the target classes, [batch]; with a shard of all processes' samples, 0 for a
            class that is elsewhere.
        norms: of the embeddings, [batch], of the same samples.
        state: of the loss.
        draws: of this process's samples.
        shard: this process's; None where every process has all classes.
        look_ahead: goes over the classes and returns `Terms.others` of this process's samples, for
            a loss that finishes its state before the step uses it.
        training: False looks at this process's samples alone, unless classes are shared.
    """
    batch = len(cosines)
    together = shard is not None or (replicas() > 1 and training and bool(state or draws))
    if shard is not None:  # all samples are here, but each has its cosine in one shard
        cosines, batch = add_up(cosines), batch // shard.count
    elif together:
        cosines, norms = gather(cosines), gather(norms)
    if together:
        draws = {name: gather(value) for name, value in draws.items()}

    def prepare(state: Tensors) -> PreparedStep:
        of_all, after = ops.prepare(cosines, norms, state, draws)
        own = of_all
        if together:
            first = distributed.get_rank() * batch
            own = {name: value[first : first + batch] for name, value in of_all.items()}
        return PreparedStep(own if shard is None else of_all, own, ops.radius(state), after)

    step = prepare(state)
    if ops.spec.looks_ahead and training:
        with torch.no_grad():
            others = look_ahead(step)
        others = gather(others) if together else others
        step = prepare(ops.finish(cosines, others, state))
    return step


def finish_step(
    ops: LossOps[MarginLoss], cosines: Tensor, others: Tensor, state: Tensors
) -> Tensors:
    """Let the loss move its state on after a pass, unless it looked ahead.

    Args:
        ops: the loss.
        cosines: `Terms.cosines` of this process's samples.
        others: `Terms.others` of the same.
        state: from `prepare_step`.
    """
    if ops.spec.looks_ahead or type(ops).finish is LossOps.finish:
        return state
    cosines, others = cosines.detach(), others.detach()
    if replicas() > 1:
        cosines, others = gather(cosines), gather(others)
    return ops.finish(cosines, others, state)


@torch.no_grad()
def carry_state(
    state: Tensors, next_state: Tensors, sums: Tensors, calls: Tensor, accumulation: int
) -> None:
    """Move the state on, in place; with accumulation, at the last call of an optimizer step.

    A value that would not be finite stays as it was: one batch that overflows would spoil it for
    good. In accumulation it counts for its call as it was.

    Args:
        state: of the loss.
        next_state: what this call makes of it.
        sums: of `next_state` since the last optimizer step; empty without accumulation.
        calls: number of calls since then.
        accumulation: calls to one optimizer step.
    """
    kept = {
        name: torch.where(next_state[name].isfinite(), next_state[name], value)
        for name, value in state.items()
    }
    if accumulation == 1:
        for name, value in state.items():
            value.copy_(kept[name])
        return
    calls_now = calls + 1
    last = calls_now == accumulation
    calls.copy_(torch.where(last, 0, calls_now))
    for name, value in state.items():
        total = sums[name] + kept[name]
        whole = None if value.is_floating_point() else "floor"
        mean = torch.div(total, calls_now, rounding_mode=whole)
        value.copy_(torch.where(last, mean, value))
        sums[name].copy_(torch.where(last, 0, total))
