"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from marginface.errors import MarginfaceError
from marginface.heads import ONCE, check_learning_rate, check_loss_scale, check_upstream
from marginface.optimizers import Optimizer
from marginface_torch.heads.rounding import stochastic_round
from marginface_torch.heads.row_step import step_rows
from marginface_torch.processes import add_up

# What is rounded to bfloat16 at random, as weights are: to the nearest, a small step would be lost.
AT_RANDOM = "second"


class StepSettings:
    """Settings of a head that count when the backward pass comes, not when the loss is computed.

    Attributes:
        rate: the learning rate; None until somebody sets one.
        loss_scale: the factor on the loss before the backward pass; None for none.
        checking: whether what is given is looked at, which waits for a GPU.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.loss_scale: float | None = None
        self.checking = True

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
    """The in-backward update: parameters that the backward pass steps where they lie.

    Args:
        spec: SGD or AdamW.
        values: `weight` and maybe `bias`.
        slots: what the optimizer carries for them, by slot, then by parameter.
        settings: the head's.
        shared_bias: whether all processes have the one bias of all classes.
    """

    spec: Optimizer
    values: Mapping[str, Tensor]
    slots: Mapping[str, Mapping[str, Tensor]]
    settings: StepSettings
    shared_bias: bool

    @torch.no_grad()
    def step(
        self,
        name: str,
        rows: slice | Tensor,
        gradient: Tensor,
        *,
        finite: bool,
        within: tuple[float, float] | None = None,
    ) -> None:
        """Step rows, and what the optimizer carries for them, by the gradient over the loss scale.

        Args:
            name: `weight` or `bias`.
            rows: which of it.
            gradient: of the scaled loss, for these rows.
            finite: whether the step's gradients are finite; if not, nothing moves.
            within: the range that the rows are put back into; None for any.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        rate = self.settings.rate
        if rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        shared = name == "bias" and self.shared_bias
        if shared:  # before `finite` is looked at: all processes must meet here
            gradient = add_up(gradient)
        if not finite:
            return
        if self.settings.loss_scale is not None:
            gradient = gradient / self.settings.loss_scale
        decay = self.spec.decay_for(decay=name == "weight")
        whole = {slot: of_slot[name] for slot, of_slot in self.slots.items()}
        value = self.values[name][rows].to(gradient.dtype)
        slots = {slot: _widened(each[rows], gradient.dtype) for slot, each in whole.items()}
        step_rows(self.spec, value, slots, gradient, rate, decay)
        if within is not None:
            value.clamp_(*within)
        for slot, each in whole.items():
            _write(each, rows, slots[slot], at_random=slot == AT_RANDOM, shared=shared)
        _write(self.values[name], rows, value, at_random=True, shared=shared)


def _widened(slot: Tensor, dtype: torch.dtype) -> Tensor:
    return slot.to(dtype) if slot.is_floating_point() else slot


def _write(
    whole: Tensor, rows: slice | Tensor, value: Tensor, *, at_random: bool, shared: bool
) -> None:
    """Write rows to their place, unless they are a view of it.

    Args:
        whole: where to.
        rows: which of it.
        value: the rows.
        at_random: whether bfloat16 is rounded at random.
        shared: whether all processes have them alike.
    """
    if isinstance(rows, slice) and value.dtype is whole.dtype:
        return
    value = stochastic_round(value, whole.dtype) if at_random else value.to(whole.dtype)
    if shared and at_random:
        distributed.broadcast(value, 0)  # each process rounds it another way
    whole[rows] = value


def with_gradient_check(loss: Tensor, update: Update) -> Tensor:
    """Return the loss; its backward pass first checks that the parameters are those of the call.

    It also checks that the loss scale was set, if there is one: a gradient of the loss far above 1
    is a scaled loss's. What is refused has moved nothing.
    """
    # PyTorch gives `apply` no types.
    checked_loss: Tensor = _GradientCheck.apply(loss, update)  # type: ignore[no-untyped-call]
    return checked_loss


class _GradientCheck(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, update: Update) -> Tensor:
        ctx.settings = update.settings
        ctx.save_for_backward(*update.values.values())
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        try:
            _ = ctx.saved_tensors
        except RuntimeError as error:  # they were stepped, or autograd has dropped them
            raise MarginfaceError(ONCE) from error
        if ctx.settings.checking:
            check_upstream(float(gradients[0]), ctx.settings.loss_scale)
        return gradients[0], None


def may_step(settings: StepSettings, *tensors: Tensor) -> bool:
    """Say if all values are finite numbers, or nobody is to look."""
    if not settings.checking and settings.loss_scale is None:
        return True
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
