"""BatchNorm that sees the batches of several processes: PyTorch's has no CPU version."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from marginface_torch.processes import add_up, gather


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm over [N, C, H, W] and [N, C] alike.

    Attributes:
        synchronized: whether training takes mean and variance over the batches of all processes of
            torch.distributed, which must be of one size; PyTorch's own SyncBatchNorm has no CPU
            version.
        resting: whether training takes the running statistics and leaves them.
        moving: whether the batch's statistics move the running ones in training.
    """

    synchronized = False
    resting = False
    moving = True

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected [N, C] or [N, C, H, W], got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; in training, move the running statistics."""
        if self.resting:
            return batch_norm(
                input,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=self.eps,
            )
        if not self.training or (self.moving and not self.synchronized):
            return super().forward(input)
        if not self.synchronized:
            assert self.running_mean is not None
            assert self.running_var is not None
            return batch_norm(
                input,
                self.running_mean.clone(),  # which moves and goes
                self.running_var.clone(),
                self.weight,
                self.bias,
                training=True,
                eps=self.eps,
            )
        assert self.running_mean is not None
        assert self.running_var is not None
        wide = torch.promote_types(input.dtype, self.running_mean.dtype)
        mean, variance, count = _statistics(input.detach().to(wide))
        normalized: Tensor = _Normalize.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, mean, variance, count, self.eps
        )
        if self.moving and self.momentum is not None:
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        return normalized


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance of each channel over all processes, and over how many."""
    variances, means = torch.var_mean(x, _over(x), correction=0)
    all_means, all_variances = gather(torch.stack([means, variances])[None]).unbind(1)
    mean = all_means.mean(0)
    variance = (all_variances + (all_means - mean) ** 2).mean(0)
    return mean, variance, x.numel() // x.shape[1] * distributed.get_world_size()


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        upstream, around = gradients[0].to(mean.dtype), [1, -1, *[1] * (x.dim() - 2)]
        inverse = torch.rsqrt(variance + ctx.eps)
        unit = (x - mean.view(around)) * inverse.view(around)
        own = torch.stack([upstream.sum(_over(x)), (upstream * unit).sum(_over(x))])
        # The statistics are everybody's, and so is what they pass on of the gradient.
        offset, slope = add_up(own) / ctx.count
        d_x = upstream - offset.view(around) - unit * slope.view(around)
        if weight is None:
            d_x *= inverse.view(around)
            return d_x.to(x.dtype), None, None, None, None, None, None
        d_x *= (inverse * weight).view(around)
        return d_x.to(x.dtype), own[1], own[0], None, None, None, None


def _over(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]
