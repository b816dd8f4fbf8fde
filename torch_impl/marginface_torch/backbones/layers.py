"""The table of layers in PyTorch: modules of those with weights, functions of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from marginface.backbones import layers
from marginface.backbones.layers import Layer
from marginface.backbones.layers.cross_covariance import LEAST_NORM
from marginface_torch.backbones.batch_norm import BatchNorm


class Conv(nn.Conv2d):
    """Convolution; zeros that are not the same on every side are put there first."""

    def __init__(self, layer: layers.Conv) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            stride=layer.stride,
            padding=0 if layer.padding == "same" else layer.padding,
            groups=layer.groups,
            bias=layer.bias,
        )
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved images."""
        if self.layer.padding != "same":
            return super().forward(input)
        (top, bottom), (left, right) = self.layer.pads(*input.shape[2:])
        padding = top, left
        if (top, left) != (bottom, right):
            input, padding = nn.functional.pad(input, (left, right, top, bottom)), (0, 0)
        return nn.functional.conv2d(
            input, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


def batch_norm(layer: layers.BatchNorm) -> nn.Module:
    """Build a batch normalisation."""
    norm = BatchNorm(
        layer.channels, eps=layer.epsilon, momentum=layer.momentum, affine=layer.affine
    )
    if layer.affine:
        norm.weight.requires_grad = layer.trainable_scale
    return norm


class _PReLU(nn.PReLU):
    """PReLU whose backward pass on a CPU takes a third of the time of PyTorch's, to the same."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        output: Tensor = _Bend.apply(input, self.weight.to(input.dtype))  # type: ignore[no-untyped-call]
        return output


class _Bend(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return nn.functional.prelu(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (upstream,), (x, slope) = gradients, ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(upstream, x, 0)
        below = upstream - above
        d_x = above.addcmul_(below, slope.view(-1, *[1] * (x.dim() - 2)))
        # In place, for new memory is what takes longest; a second derivative needs `below`, too.
        each = below * x if torch.is_grad_enabled() else below.mul_(x)
        return d_x, each.sum([0, *range(2, x.dim())])


def prelu(layer: layers.PReLU) -> nn.Module:
    """Build a PReLU."""
    return _PReLU(layer.channels)


def linear(layer: layers.Linear) -> nn.Module:
    """Build a linear layer."""
    return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation along the channels of images, tokens or vectors."""

    def __init__(self, layer: layers.LayerNorm) -> None:
        super().__init__(layer.channels, eps=layer.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised input; without a copy where images lie channels last."""
        if x.dim() == 4:
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(x)


class FourierPosition(nn.Module):
    """Waves, mixed by a learned 1x1 convolution, added to images."""

    waves: Tensor

    def __init__(self, layer: layers.FourierPosition) -> None:
        super().__init__()
        waves = torch.from_numpy(layer.waves())
        self.token_projection = nn.Conv2d(len(waves), layer.channels, 1)
        self.register_buffer("waves", waves[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + W waves + b."""
        mixed: Tensor = self.token_projection(self.waves.to(self.token_projection.weight.dtype))
        return x + mixed.to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention by PyTorch's fused kernel, in float32 at least."""

    def __init__(self, layer: layers.Attention) -> None:
        super().__init__()
        self.heads = layer.heads
        self.qkv = nn.Linear(layer.channels, 3 * layer.channels, bias=False)
        self.proj = nn.Linear(layer.channels, layer.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, L, C] after each token has looked at all."""
        qkv: Tensor = self.qkv(x)
        parts = qkv.view(*qkv.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        with torch.autocast(x.device.type, enabled=False):
            wide = parts.to(torch.promote_types(qkv.dtype, torch.float32))
            q, k, v = wide.unbind()  # each [N, heads, L, width]
            y = scaled_dot_product_attention(q, k, v)
        output: Tensor = self.proj(y.transpose(1, 2).flatten(2).to(qkv.dtype))
        return output


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


def relu6(layer: layers.ReLU6, x: Tensor) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return nn.functional.relu6(x)


def tokens(layer: layers.Tokens, x: Tensor) -> Tensor:
    """Return [N, C, H, W] as [N, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


def position(layer: layers.Position, x: Tensor, array: Tensor) -> Tensor:
    """Return x + array."""
    return x + array


def drop_path(layer: layers.DropPath, x: Tensor, noise: Tensor | None) -> Tensor:
    """Drop a branch of some samples in training."""
    if noise is None:
        return x
    return x * _kept(noise, layer.rate, x).view(-1, *[1] * (x.dim() - 1))


def mask_tokens(layer: layers.MaskTokens, x: Tensor, noise: Tensor | None) -> Tensor:
    """Take tokens away in training."""
    if noise is None:
        return x
    return _gather(x, noise.argsort(stable=True, dim=1)[:, : layer.left])


def restore_tokens(
    layer: layers.RestoreTokens, x: Tensor, array: Tensor, noise: Tensor | None = None
) -> Tensor:
    """Put tokens back, and the array where there is none."""
    if noise is None:
        return x
    count, places = noise.shape
    filled = torch.cat([x, array.to(x.dtype).expand(count, places - x.shape[1], -1)], 1)
    return _gather(filled, noise.argsort(stable=True, dim=1).argsort(1))


def subsample(layer: layers.Subsample, x: Tensor) -> Tensor:
    """Return every stride-th pixel."""
    return x[:, :, :: layer.stride, :: layer.stride]


def global_pool(layer: layers.GlobalPool, x: Tensor) -> Tensor:
    """Return [N, C, 1, 1]."""
    return x.mean((2, 3), keepdim=True)


def relu(layer: layers.ReLU, x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.relu(x)


def gelu(layer: layers.GELU, x: Tensor) -> Tensor:
    """Return x / 2 (1 + erf(x / sqrt(2)))."""
    return nn.functional.gelu(x)


def layer_scale(layer: layers.LayerScale, x: Tensor, array: Tensor) -> Tensor:
    """Return x * array."""
    return x * array.to(x.dtype)


def images(layer: layers.Images, x: Tensor) -> Tensor:
    """Return [N, H * W, C] as [N, C, H, W]."""
    return x.transpose(1, 2).view(-1, x.shape[2], layer.height, layer.width)


def channels(layer: layers.Channels, x: Tensor) -> Tensor:
    """Return some of the channels."""
    return x[:, layer.start : layer.end]


def concat(layer: layers.Concat, *inputs: Tensor) -> Tensor:
    """Return all channels."""
    return torch.cat(inputs, 1)


def cross_covariance(layer: layers.CrossCovariance, x: Tensor, temperature: Tensor) -> Tensor:
    """Let each channel look at all of its head, in float32 at least."""
    parts = x.view(*x.shape[:2], 3, layer.heads, -1).permute(0, 2, 3, 4, 1)
    with torch.autocast(x.device.type, enabled=False):
        wide = parts.to(torch.promote_types(x.dtype, torch.float32))
        q, k, v = wide.unbind(1)  # each [N, heads, width, L]
        q, k = (nn.functional.normalize(each, dim=-1, eps=LEAST_NORM) for each in (q, k))
        y: Tensor = (q @ k.transpose(2, 3) * temperature).softmax(-1) @ v
    return y.flatten(1, 2).transpose(1, 2).to(x.dtype)


def sigmoid(layer: layers.Sigmoid, x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def hard_sigmoid(layer: layers.HardSigmoid, x: Tensor) -> Tensor:
    """Return min(max(0.2 x + 0.5, 0), 1)."""
    return (0.2 * x + 0.5).clamp(0, 1)


def multiply(layer: layers.Multiply, x: Tensor, y: Tensor) -> Tensor:
    """Return x * y."""
    return x * y


def _gather(x: Tensor, places: Tensor) -> Tensor:
    """Return each sample's tokens at its places [N, L]."""
    return x.gather(1, places[:, :, None].expand(-1, -1, x.shape[2]))


def _kept(noise: Tensor, rate: float, x: Tensor) -> Tensor:
    """Return 0 where noise drops a value, elsewhere 1 / (1 - rate)."""
    return (noise >= layers.threshold(rate)).to(x.dtype) / (1 - rate)


# Attached to the backbone under the layer's name, and called by it: a replaced one counts.
MODULES: Mapping[type[Layer], Callable[[Any], nn.Module]] = {
    layers.Conv: Conv,
    layers.BatchNorm: batch_norm,
    layers.PReLU: prelu,
    layers.Linear: linear,
    layers.LayerNorm: LayerNorm,
    layers.FourierPosition: FourierPosition,
    layers.Attention: Attention,
}
# Called with the layer, its inputs, the array that it has under its own name, and its noise.
FUNCTIONS: Mapping[type[Layer], Callable[..., Tensor]] = {
    layers.Add: add,
    layers.Multiply: multiply,
    layers.Flatten: flatten,
    layers.Dropout: dropout,
    layers.ReLU: relu,
    layers.ReLU6: relu6,
    layers.Sigmoid: sigmoid,
    layers.Subsample: subsample,
    layers.GlobalPool: global_pool,
    layers.Tokens: tokens,
    layers.Position: position,
    layers.DropPath: drop_path,
    layers.MaskTokens: mask_tokens,
    layers.RestoreTokens: restore_tokens,
    layers.HardSigmoid: hard_sigmoid,
    layers.GELU: gelu,
    layers.LayerScale: layer_scale,
    layers.Images: images,
    layers.Channels: channels,
    layers.Concat: concat,
    layers.CrossCovariance: cross_covariance,
}
LAYERS: Mapping[type[Layer], Callable[..., Any]] = {**MODULES, **FUNCTIONS}
