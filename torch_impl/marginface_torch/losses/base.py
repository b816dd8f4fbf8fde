"""The seam inside every loss, in PyTorch: target logit, negatives, reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses import MIN_NORM, MarginLoss

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
        del cosines, norms, draw
        return {}, dict(state)

    def target(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        del prepared
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        del prepared
        return cosines

    def reduce(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `logits` are scaled and hold no margin."""
        hidden = torch.finfo(logits.dtype).min
        others = logits.scatter(1, labels[:, None], hidden)
        return softplus(others.logsumexp(1) - target, threshold=40)


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of length 1 and their former norms; a zero row stays zero, with zero gradient."""
    norms = torch.linalg.vector_norm(vectors, dim=1)
    short = norms <= MIN_NORM
    return vectors * torch.where(short, 0, 1 / torch.where(short, 1, norms))[:, None], norms


def with_slope(value: Tensor, slope: Tensor, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative with respect to `cosines` is `slope`, whatever made it."""
    return value.detach() + slope.detach() * (cosines - cosines.detach())
