"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from marginface.errors import MarginfaceError
from marginface.heads import check_upstream
from marginface.optimizers import SGD
from marginface_torch.processes import add_up


@dataclass
class StepSettings:
    """What a step goes by and its head's user sets, as it is when the backward pass comes.

    Args:
        rate: the learning rate; None until somebody sets one.
        loss_scale: what the loss is multiplied by before the backward pass; None for nothing.
    """

    rate: float | None = None
    loss_scale: float | None = None


@dataclass(frozen=True)
class Update:
    """Parameters that the backward pass steps where they lie.

    Args:
        spec: momentum and weight decay.
        values: `weight` and maybe `bias`.
        velocities: their momentum.
        settings: the head's.
        together: whether all processes have the one bias of all classes.
    """

    spec: SGD
    values: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    settings: StepSettings
    together: bool

    @torch.no_grad()
    def step(self, name: str, rows: slice | Tensor, gradient: Tensor, *, finite: bool) -> None:
        """Step rows: v <- momentum v + gradient / loss_scale + decay w, w <- w - rate v.

        Args:
            name: `weight` or `bias`.
            rows: which of it.
            gradient: of the scaled loss.
            finite: whether that consists of numbers; if not, nothing moves.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        rate = self.settings.rate
        if rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        values, velocities = self.values[name], self.velocities[name]
        together = name == "bias" and self.together
        if together:
            gradient = add_up(gradient)
        if not finite:
            return
        decay = self.spec.decay_for(decay=name == "weight")
        value, velocity = values[rows].to(gradient.dtype), velocities[rows].to(gradient.dtype)
        velocity.mul_(self.spec.momentum).add_(gradient, alpha=1 / (self.settings.loss_scale or 1))
        velocity.add_(value, alpha=decay)
        value.sub_(velocity, alpha=rate)
        if not (isinstance(rows, slice) and value.dtype is values.dtype):  # those were views
            value = narrow(value, values.dtype)
            if together:
                distributed.broadcast(value, 0)  # each process would round it another way
            values[rows], velocities[rows] = value, velocity.to(values.dtype)


def checked(loss: Tensor, update: Update) -> Tensor:
    """Return the loss; before anything moves, its gradient is checked to be no scaled loss's."""
    found: Tensor = _Checked.apply(loss, update)  # type: ignore[no-untyped-call]
    return found


class _Checked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, update: Update) -> Tensor:
        ctx.update = update
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        check_upstream(float(gradients[0]), ctx.update.settings.loss_scale)
        return gradients[0], None


def all_finite(*values: Tensor) -> bool:
    """Return whether there are numbers only: no infinity, and nothing that is none."""
    return bool(torch.stack([each.isfinite().all() for each in values]).all())


def narrow(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in another type; in bfloat16 up or down at random, right on average.

    To the nearest, a step below 1/512 of a weight would be lost, each time anew.
    """
    if dtype is not torch.bfloat16 or values.dtype is not torch.float32:
        return values.to(dtype)
    bits = values.view(torch.int32)  # bfloat16 is the upper half
    drawn = bits + torch.randint_like(bits, 2**16)
    return drawn.bitwise_and_(-(2**16)).view(torch.float32).to(dtype)
