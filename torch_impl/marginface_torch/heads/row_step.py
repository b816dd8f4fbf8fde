"""One step of rows of class weights or bias; the core's `Optimizer.update` is the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from marginface.heads import COUNT
from marginface.optimizers import SGD, AdamW, Optimizer


def step_rows(
    spec: Optimizer,
    value: Tensor,
    slots: Mapping[str, Tensor],
    gradient: Tensor,
    rate: float,
    decay: float,
) -> None:
    """Step rows and what an optimizer carries for them, in place.

    Args:
        spec: SGD or AdamW.
        value: the rows.
        slots: those of `update_slots`, of these rows.
        gradient: of the rows.
        rate: the learning rate.
        decay: the weight decay.
    """
    match spec:
        case SGD():
            velocity = slots["momentum"]
            velocity.mul_(spec.momentum).add_(gradient).add_(value, alpha=decay)
            value.sub_(velocity, alpha=rate)
        case AdamW():
            first, second, count = slots["first"], slots["second"], slots[COUNT]
            count.add_(1)
            first.mul_(spec.beta1).add_(gradient, alpha=1 - spec.beta1)
            second.mul_(spec.beta2).addcmul_(gradient, gradient, value=1 - spec.beta2)
            corrected = second / _correction(spec.beta2, count, gradient)
            corrected.sqrt_().add_(spec.epsilon).mul_(_correction(spec.beta1, count, gradient))
            value.mul_(1 - rate * decay).addcdiv_(first, corrected, value=-rate)
        case _:
            raise TypeError(f"no step of rows for {spec!r}")


def _correction(beta: float, count: Tensor, like: Tensor) -> Tensor:
    """Return 1 - beta^count, a number a row; written so, no digit is lost where beta is near 1."""
    powers = count.to(like.dtype) * (math.log(beta) if beta else -math.inf)
    return torch.expm1(powers).neg_().view(-1, *[1] * (like.ndim - 1))
