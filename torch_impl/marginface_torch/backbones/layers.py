"""The table of layers in PyTorch: modules of those with weights, functions of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marginface.backbones import layers
from marginface.backbones.layers import Layer
from marginface_torch.backbones.batch_norm import BatchNorm


def conv(layer: layers.Conv) -> nn.Module:
    """Build a convolution."""
    return nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
        bias=layer.bias,
    )


def batch_norm(layer: layers.BatchNorm) -> nn.Module:
    """Build a batch normalisation."""
    norm = BatchNorm(layer.channels, eps=layer.epsilon, momentum=layer.momentum)
    norm.weight.requires_grad = layer.trainable_scale
    return norm


def prelu(layer: layers.PReLU) -> nn.Module:
    """Build a PReLU."""
    return nn.PReLU(layer.channels)


def linear(layer: layers.Linear) -> nn.Module:
    """Build a linear layer."""
    return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias)


def add(layer: layers.Add, x: Tensor, y: Tensor) -> Tensor:
    """Return x + y."""
    return x + y


def flatten(layer: layers.Flatten, x: Tensor) -> Tensor:
    """Return [N, ...] as [N, values]."""
    return torch.flatten(x, 1)


def dropout(layer: layers.Dropout, x: Tensor, noise: Tensor | None) -> Tensor:
    """Drop values in training."""
    if noise is None:
        return x
    return x * _kept(noise, layer.rate, x).reshape(x.shape)


def _kept(noise: Tensor, rate: float, x: Tensor) -> Tensor:
    """Return 0 where noise drops a value, elsewhere 1 / (1 - rate)."""
    return (noise >= layers.threshold(rate)).to(x.dtype) / (1 - rate)


# Attached to the backbone under the layer's name, and called by it: a replaced one counts.
MODULES: Mapping[type[Layer], Callable[[Any], nn.Module]] = {
    layers.Conv: conv,
    layers.BatchNorm: batch_norm,
    layers.PReLU: prelu,
    layers.Linear: linear,
}
# Called with the layer, its inputs, the array that it has under its own name, and its noise.
FUNCTIONS: Mapping[type[Layer], Callable[..., Tensor]] = {
    layers.Add: add,
    layers.Flatten: flatten,
    layers.Dropout: dropout,
}
LAYERS = MODULES | FUNCTIONS  # type: ignore[operator]
