"""What every class takes part in, each with a backward pass that holds as little as it can.

PyTorch's own would keep normalised class weights and several [batch, classes] arrays.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses import MIN_NORM


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=1)
    short = norms <= MIN_NORM
    inverse = torch.where(short, 0, 1 / torch.where(short, 1, norms))
    return vectors * inverse[:, None], torch.where(short, 0, norms)


def class_cosines(units: Tensor, weight: Tensor) -> Tensor:
    """Return the cosines [batch, classes] of unit rows with class weights of any length."""
    found: Tensor = _ClassCosines.apply(units, weight)  # type: ignore[no-untyped-call]
    return found


def logsumexp_of_others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ln of the sum of e^logit over all classes but each sample's own, [batch]."""
    found: Tensor = _LogSumExpOfOthers.apply(logits, labels)  # type: ignore[no-untyped-call]
    return found


def softplus_sum(
    target: Tensor, logits: Tensor, labels: Tensor, positive: float, negative: float
) -> Tensor:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j) of each sample."""
    others = softplus(logits, threshold=40).scatter(1, labels[:, None], 0)
    return positive * softplus(-target, threshold=40) + negative * others.sum(1)


class _ClassCosines(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, units: Tensor, weight: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(weight, dim=1)
        short = norms <= MIN_NORM
        inverse = torch.where(short, 0, 1 / torch.where(short, 1, norms))
        cosines = (units @ weight.T).mul_(inverse)
        ctx.save_for_backward(units, weight, inverse, cosines)
        return cosines

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        units, weight, inverse, cosines = ctx.saved_tensors
        scaled = gradients[0] * inverse
        d_units, d_weight = scaled @ weight, scaled.T @ units
        along = scaled.mul_(cosines).sum(0) * inverse  # what would only change a weight's length
        return d_units, d_weight.addcmul_(weight, along[:, None], value=-1)


class _LogSumExpOfOthers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        parts = logits.scatter(1, labels[:, None], torch.finfo(logits.dtype).min)
        top = parts.amax(1, keepdim=True)
        total = parts.sub_(top).exp_().sum(1, keepdim=True)
        ctx.save_for_backward(parts, total)
        return (top + total.log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        parts, total = ctx.saved_tensors
        return parts * (gradients[0][:, None] / total), None
