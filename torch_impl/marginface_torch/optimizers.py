"""The core's optimizers in PyTorch, with slots under canonical names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from marginface.optimizers import SGD, AdamW, Optimizer

NONE: Mapping[str, Any] = MappingProxyType({})
SLOT_OF_KEY = {"momentum_buffer": "momentum", "exp_avg": "first", "exp_avg_sq": "second"}


def create_optimizer(
    spec: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    undecayed: Container[str],
    *,
    factors: Mapping[str, float] = NONE,
    first_steps: Mapping[str, int] = NONE,
) -> torch.optim.Optimizer:
    """Create PyTorch's own optimizer with the spec's hyperparameters, its slots zero.

    Args:
        spec: SGD or AdamW.
        parameters: what it moves, by name.
        undecayed: the names that `decay_norm_and_bias` is about.
        factors: on the learning rate, where it is not 1.
        first_steps: the step, from 0, that moves a parameter first, where it is not 0.
    """
    groups: dict[tuple[float, float, int], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = spec.decay_for(decay=name not in undecayed)
        rules = decay, factors.get(name, 1.0), first_steps.get(name, 0)
        groups.setdefault(rules, []).append(parameter)
    if not groups:  # all is frozen, or steps itself; PyTorch takes a group of nothing, not none
        groups[0.0, 1.0, 0] = []
    named: list[dict[str, Any]] = [
        {"params": members, "weight_decay": decay, "factor": factor, "first_step": first}
        for (decay, factor, first), members in groups.items()
    ]
    optimizer: torch.optim.Optimizer
    match spec:
        case SGD():
            optimizer = torch.optim.SGD(named, lr=0.0, momentum=spec.momentum, fused=True)
        case AdamW():
            betas = (spec.beta1, spec.beta2)
            optimizer = torch.optim.AdamW(named, lr=0.0, betas=betas, eps=spec.epsilon, fused=True)
        case _:
            raise TypeError(f"no PyTorch optimizer for {spec!r}")
    keys = {slot: key for key, slot in SLOT_OF_KEY.items()}
    for parameter in parameters.values():
        for slot in spec.slots:
            optimizer.state[parameter][keys[slot]] = torch.zeros_like(parameter)
    set_step(optimizer, spec, 0)
    return optimizer


def clip_scale(gradients: Iterable[Tensor], clip_norm: float | None) -> tuple[list[Tensor], Tensor]:
    """Return gradients scaled to a global norm of at most `clip_norm`, and the norm before.

    They are scaled in place: an optimizer reads them where they are.
    """
    scaled = list(gradients)
    if not scaled:  # nothing of the backbone learns
        return scaled, torch.tensor(0.0)
    norm = torch.nn.utils.get_total_norm(scaled)
    if clip_norm is not None:
        torch._foreach_mul_(scaled, torch.clamp(clip_norm / (norm + 1e-6), max=1.0))
    return scaled, norm


def read_slots(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], spec: Optimizer
) -> dict[str, Tensor]:
    """Return `<slot>.<parameter>` for every slot, in place."""
    keys = {slot: key for key, slot in SLOT_OF_KEY.items()}
    return {
        f"{slot}.{name}": optimizer.state[parameter][keys[slot]]
        for name, parameter in parameters.items()
        for slot in spec.slots
    }


def set_step(optimizer: torch.optim.Optimizer, spec: Optimizer, step: int) -> None:
    """Have the optimizer go on as after step number `step`; SGD counts none."""
    if isinstance(spec, AdamW):
        for group in optimizer.param_groups:
            taken = max(0, step - group["first_step"])
            for parameter in group["params"]:
                counted = torch.tensor(float(taken), device=parameter.device)
                optimizer.state[parameter]["step"] = counted
