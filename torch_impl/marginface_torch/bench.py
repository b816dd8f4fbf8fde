"""One step of a head, to be timed: forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from marginface.losses import MarginLoss
from marginface_torch.devices import find_device
from marginface_torch.heads.head import MarginHead
from marginface_torch.processes import set_threads

RATE = 0.1  # of a head that takes its update inside


def loss_step(
    loss: MarginLoss,
    embeddings: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    draw: Mapping[str, NDArray[Any]],
    *,
    threads: int | None = None,
    device: str = "auto",
    **options: Any,
) -> Callable[[], float]:
    """Return a function that computes the loss and the gradients of embeddings and weights.

    Args:
        loss: of the head.
        embeddings: [batch, embedding_size].
        labels: [batch].
        num_classes: of the head.
        draw: its randomness, in every call.
        threads: CPU threads; None for the framework's choice.
        device: what computes.
        options: of the head.
    """
    set_threads(threads)
    place = find_device(device)
    x = torch.tensor(embeddings, requires_grad=True, device=place)
    y = torch.tensor(labels, device=place)
    draws = {name: torch.tensor(value, device=place) for name, value in draw.items()}
    head = MarginHead(loss, x.shape[1], num_classes, **options).to(place)
    if head.update is not None:
        head.rate = RATE

    def step() -> float:
        x.grad = None
        head.zero_grad(set_to_none=True)
        value = head(x, y, draws)
        value.backward()
        return float(value.detach())

    return step
