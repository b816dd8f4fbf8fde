"""The seam inside every loss, in PyTorch: target logit, negatives, reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses import MIN_NORM, MIN_SINE, MarginLoss

Spec = TypeVar("Spec", bound=MarginLoss)
Tensors = Mapping[str, Tensor]


class LossOps(Generic[Spec]):
    """What a loss computes, on tensors; the spec holds every hyperparameter."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what `target` and `negatives` take for each sample [batch], and the next state.

        The head detaches `cosines` and `norms`: what comes of them is a constant to the gradient.
        """
        return {}, dict(state)

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        return cosines

    def reduce(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `logits` are scaled and hold no margin."""
        hidden = torch.finfo(logits.dtype).min
        others = logits.scatter(1, labels[:, None], hidden)
        return softplus(others.logsumexp(1) - target, threshold=40)

    def penalty(self, norms: Tensor) -> Tensor:
        """Return what is added for embeddings of these norms [batch]; nothing for most."""
        return torch.zeros_like(norms)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=1)
    short = norms <= MIN_NORM
    inverse = torch.where(short, 0, 1 / torch.where(short, 1, norms))
    return vectors * inverse[:, None], torch.where(short, 0, norms)


def angle_and_sine(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Return theta, and sin(theta) that is never below MIN_SINE, of detached cosines."""
    c = cosines.detach().clamp(-1, 1)
    return torch.acos(c), ((1 - c) * (1 + c)).sqrt().clamp(min=MIN_SINE)


def with_slope(value: Tensor, slope: Tensor, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative with respect to `cosines` is `slope`, whatever made it."""
    found: Tensor = _WithSlope.apply(cosines, value.detach(), slope.detach())  # type: ignore[no-untyped-call]
    return found


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cosines: Tensor, value: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None


def softplus_sum(
    target: Tensor, logits: Tensor, labels: Tensor, positive: float, negative: float
) -> Tensor:
    """Return positive * softplus(-t) + negative * sum_j softplus(n_j) of each sample."""
    others = softplus(logits, threshold=40).scatter(1, labels[:, None], 0)
    return positive * softplus(-target, threshold=40) + negative * others.sum(1)
