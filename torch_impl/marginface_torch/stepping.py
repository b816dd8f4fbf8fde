"""Steps of class weights and bias inside the backward pass, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from marginface.errors import MarginfaceError
from marginface.training.optimizers import SGD
from marginface_torch.processes import add_up


@dataclass(frozen=True)
class Update:
    """Parameters that the backward pass steps where they lie.

    Args:
        spec: momentum and weight decay.
        values: `weight` and maybe `bias`.
        velocities: their momentum.
        rate: the learning rate; None until somebody sets one.
        together: whether all processes have the one bias of all classes.
    """

    spec: SGD
    values: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    rate: float | None
    together: bool

    @torch.no_grad()
    def step(self, name: str, rows: slice | Tensor, gradient: Tensor) -> None:
        """Step rows: v <- momentum v + gradient + decay w, w <- w - rate v.

        Raises:
            MarginfaceError: there is no learning rate.
        """
        if self.rate is None:
            raise MarginfaceError("a head with update needs a learning rate; set head.rate first")
        values, velocities = self.values[name], self.velocities[name]
        together = name == "bias" and self.together
        if together:
            gradient = add_up(gradient)
        decay = self.spec.decay_for(values.dim())
        value, velocity = values[rows].to(gradient.dtype), velocities[rows].to(gradient.dtype)
        velocity.mul_(self.spec.momentum).add_(gradient).add_(value, alpha=decay)
        value.sub_(velocity, alpha=self.rate)
        if not (isinstance(rows, slice) and value.dtype is values.dtype):  # those were views
            value = narrow(value, values.dtype)
            if together:
                distributed.broadcast(value, 0)  # each process would round it another way
            values[rows], velocities[rows] = value, velocity.to(values.dtype)


def narrow(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in another type; in bfloat16 up or down at random, right on average.

    To the nearest, a step below 1/512 of a weight would be lost, each time anew.
    """
    if dtype is not torch.bfloat16 or values.dtype is not torch.float32:
        return values.to(dtype)
    bits = values.view(torch.int32)  # bfloat16 is the upper half
    drawn = bits + torch.randint_like(bits, 2**16)
    return drawn.bitwise_and_(-(2**16)).view(torch.float32).to(dtype)
