"""SGD steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from marginface.errors import MarginfaceError
from marginface.heads import check_learning_rate, check_loss_scale, check_upstream
from marginface.optimizers import SGD
from marginface_torch.heads.rounding import stochastic_round
from marginface_torch.processes import add_up


class StepSettings:
    """Settings of a head that count when the backward pass comes, not when the loss is computed.

    Attributes:
        rate: the learning rate; None until somebody sets one.
        loss_scale: the factor on the loss before the backward pass; None for none.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.loss_scale: float | None = None

    def set_rate(self, value: float | None) -> None:
        """Set the learning rate.

        Raises:
            MarginfaceError: it is no finite number of at least 0.
        """
        self.rate = None if value is None else check_learning_rate(value)

    def set_loss_scale(self, value: float | Tensor | None) -> None:
        """Set the loss scale.

        Raises:
            MarginfaceError: it is no finite number above 0.
        """
        self.loss_scale = None if value is None else check_loss_scale(value)


@dataclass(frozen=True)
class Update:
    """The in-backward SGD update: parameters that the backward pass steps where they lie.

    Args:
        spec: momentum and weight decay.
        values: `weight` and maybe `bias`.
        velocities: their momentum.
        settings: the head's.
        shared_bias: whether all processes have the one bias of all classes.
    """

    spec: SGD
    values: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    settings: StepSettings
    shared_bias: bool

    @torch.no_grad()
    def step(self, name: str, rows: slice | Tensor, gradient: Tensor, *, finite: bool) -> None:
        """Step rows: v <- momentum v + gradient / loss_scale + decay w, w <- w - rate v.

        Args:
            name: `weight` or `bias`.
            rows: which of it.
            gradient: of the scaled loss, for these rows.
            finite: whether the step's gradients are finite; if not, nothing moves.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        rate = self.settings.rate
        if rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        values, velocities = self.values[name], self.velocities[name]
        shared = name == "bias" and self.shared_bias
        if shared:  # before `finite` is looked at: all processes must meet here
            gradient = add_up(gradient)
        if not finite:
            return
        decay = self.spec.decay_for(decay=name == "weight")
        value, velocity = values[rows].to(gradient.dtype), velocities[rows].to(gradient.dtype)
        velocity.mul_(self.spec.momentum).add_(gradient, alpha=1 / (self.settings.loss_scale or 1))
        velocity.add_(value, alpha=decay)
        value.sub_(velocity, alpha=rate)
        in_place = isinstance(rows, slice) and value.dtype is values.dtype  # both were views
        if not in_place:
            value = stochastic_round(value, values.dtype)
            if shared:
                distributed.broadcast(value, 0)  # each process rounds it another way
            values[rows], velocities[rows] = value, velocity.to(values.dtype)


def with_gradient_check(loss: Tensor, update: Update) -> Tensor:
    """Return the loss; its backward pass first checks that the loss scale was set, if there is one.

    A gradient of the loss far above 1 is a scaled loss's. It is refused before any weight moves.
    """
    # PyTorch gives `apply` no types.
    checked_loss: Tensor = _GradientCheck.apply(loss, update)  # type: ignore[no-untyped-call]
    return checked_loss


class _GradientCheck(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, update: Update) -> Tensor:
        ctx.update = update
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        check_upstream(float(gradients[0]), ctx.update.settings.loss_scale)
        return gradients[0], None


def all_finite(*tensors: Tensor) -> bool:
    """Say if all values are finite numbers."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
