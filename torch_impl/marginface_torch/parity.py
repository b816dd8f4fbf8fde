"""One evaluation of a loss by this framework, NumPy arrays in and out, for parity."""

from __future__ import annotations

import torch

from marginface.losses import Evaluation, MarginLoss
from marginface.losses.problems import Problem
from marginface_torch.arrays import to_numpy
from marginface_torch.devices import find_device
from marginface_torch.heads.head import MarginHead


def evaluate_loss(
    loss: MarginLoss, problem: Problem, dtype: str, *, device: str = "auto"
) -> Evaluation:
    """Return loss, gradients and next state of a MarginHead on embeddings of `dtype`."""
    place = find_device(device)
    weight = torch.tensor(problem.weight)
    classes = len(weight) // loss.num_centers
    head = MarginHead(loss, weight.shape[1], classes, dtype=weight.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(torch.tensor(problem.bias))
        carried = head.carried()
        for name, value in problem.state.items():
            carried[name].copy_(torch.tensor(value))
    head = head.to(place)
    embeddings = torch.tensor(problem.embeddings, dtype=getattr(torch, dtype), device=place)
    embeddings.requires_grad_()
    draw = {name: torch.tensor(value, device=place) for name, value in problem.draw.items()}
    value = head(embeddings, torch.tensor(problem.labels, device=place), draw)
    value.backward()
    tensors = {"embeddings": embeddings, "weight": head.weight, "bias": head.bias}
    gradients = {
        name: tensor.grad.double().cpu().numpy()
        for name, tensor in tensors.items()
        if tensor is not None and tensor.grad is not None
    }
    state = {name: to_numpy(buffer) for name, buffer in head.carried().items()}
    return Evaluation(value.item(), gradients, state)
