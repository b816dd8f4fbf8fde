"""The seam inside every loss, in PyTorch: target logit, negatives, reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from marginface.losses import MIN_SINE, MarginLoss, Memory, Sample

Spec = TypeVar("Spec", bound=MarginLoss)
Tensors = Mapping[str, Tensor]


class LossOps(Generic[Spec]):
    """What a loss computes, on tensors; the spec holds every hyperparameter."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def prepare(
        self, cosines: Tensor, norms: Tensor, state: Tensors, draw: Tensors
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prepare `target`'s and `negatives`' values [batch]; return them and the next state.

        The head detaches `cosines` and `norms`: what comes of them is a constant to the gradient.
        """
        return {}, dict(state)

    def radius(self, state: Tensors) -> Tensor | float:
        """Return what logits are multiplied by; the spec's scale for most."""
        return self.spec.scale

    def finish(self, cosines: Tensor, others: Tensor, state: Tensors) -> dict[str, Tensor]:
        """Return the state after a pass, from target cosines and logsumexps [batch]."""
        return dict(state)

    def target(self, cosines: Tensor, norms: Tensor, prepared: Tensors) -> Tensor:
        """Return psi at the target cosines [batch], before the scale."""
        return cosines

    def negatives(self, cosines: Tensor, prepared: Tensors) -> Tensor:
        """Return nu at all cosines [batch, classes], before the scale."""
        return cosines

    def tally(self, cosines: Tensor, prepared: Tensors) -> dict[str, Tensor]:
        """Return what each cosine [batch, classes] adds to the spec's `tallies`; none for most.

        The sums over all negatives are among what `target` gets as `prepared`.
        """
        return {}

    def reduce(self, target: Tensor, others: Tensor) -> Tensor:
        """Return logaddexp(t, n) - t of each sample; `others` is n, or what the spec `adds`."""
        return softplus(others - target, threshold=40)

    def remember(self, rows: Tensors, samples: Sample, state: Tensors) -> dict[str, Tensor]:
        """Return the rows of `class_state` [batch, ...] that samples leave to their classes."""
        return dict(rows)

    def recall(self, rows: Tensors, state: Tensors) -> Memory | None:
        """Return how much of which vector is in the direction of these classes, or None."""
        return None

    def penalty(self, norms: Tensor) -> Tensor:
        """Return the penalty on embeddings' norms [batch]; 0 for most."""
        return torch.zeros_like(norms)


def angle(cosines: Tensor) -> Tensor:
    """Return theta of cosines, detached."""
    return cosines.detach().clamp(-1, 1).acos_()


def inverse_sine(cosines: Tensor) -> Tensor:
    """Return 1 / sin(theta) of cosines, detached; sin(theta) counts as MIN_SINE at least."""
    c = cosines.detach().clamp(-1, 1)
    return (1 - c).mul_(c.add_(1)).clamp_(min=MIN_SINE**2).rsqrt_()


def with_slope(value: Tensor, slope: Tensor | None, cosines: Tensor) -> Tensor:
    """Return `value` whose derivative to `cosines` is `slope`, 1 for None, whatever made it."""
    sloped: Tensor = _WithSlope.apply(cosines, value.detach(), slope)  # type: ignore[no-untyped-call]
    return sloped


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cosines: Tensor, value: Tensor, slope: Tensor | None) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] if slope is None else gradients[0] * slope, None, None
