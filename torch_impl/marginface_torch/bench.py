"""One step of a head, to be timed: forward and backward on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from marginface.losses import MarginLoss
from marginface_torch.heads.head import MarginHead


def loss_step(
    loss: MarginLoss,
    embeddings: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    draw: Mapping[str, NDArray[Any]],
) -> Callable[[], float]:
    """Return a function that computes the loss and the gradients of embeddings and weights."""
    x, y = torch.tensor(embeddings, requires_grad=True), torch.tensor(labels)
    draws = {name: torch.tensor(value) for name, value in draw.items()}
    head = MarginHead(loss, x.shape[1], num_classes)

    def step() -> float:
        x.grad = None
        head.zero_grad(set_to_none=True)
        value = head(x, y, draws)
        value.backward()
        return float(value.detach())

    return step
