"""The vision transformers as plain PyTorch modules, as their published weights' names have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marginface.backbones.vit import HEADS, MLP_RATIO, PATCH, Size


class Attention(nn.Module):
    """All tokens look at all others, products and softmax written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, channels // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (q @ k.transpose(-2, -1) * (channels // HEADS) ** -0.5).softmax(-1)
        out: Tensor = self.proj((shares @ v).transpose(1, 2).reshape(batch, tokens, channels))
        return out


class MLP(nn.Module):
    """Two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, MLP_RATIO * channels)
        self.fc2 = nn.Linear(MLP_RATIO * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(nn.functional.relu6(self.fc1(x)))
        return out


class Block(nn.Module):
    """An encoder layer, whose branches some samples drop in training."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1, self.attn = nn.LayerNorm(channels, eps=1e-6), Attention(channels)
        self.norm2, self.mlp = nn.LayerNorm(channels, eps=1e-6), MLP(channels)

    def dropped(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return x
        kept = x.new_empty(len(x), 1, 1).bernoulli_(1 - self.drop_path)
        return x * kept / (1 - self.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropped(self.attn(self.norm1(x)))
        return x + self.dropped(self.mlp(self.norm2(x)))


class PlainViT(nn.Module):
    """A whole network for images of 112 x 112."""

    def __init__(self, network: Size, size: int) -> None:
        super().__init__()
        channels, self.mask, tokens = network.channels, network.mask, (112 // PATCH) ** 2
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, channels, PATCH, PATCH)
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, channels))
        self.mask_token = nn.Parameter(torch.empty(1, 1, channels))
        drops = torch.linspace(0, network.drop_path, network.depth).tolist()
        self.blocks = nn.ModuleList([Block(channels, drop) for drop in drops])
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.feature = nn.Sequential(
            nn.Linear(tokens * channels, channels, bias=False),
            nn.BatchNorm1d(channels, eps=2e-5),
            nn.Linear(channels, size, bias=False),
            nn.BatchNorm1d(size, eps=2e-5),
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2) + self.pos_embed
        batch, tokens, channels = x.shape
        masked = self.training and self.mask > 0
        if masked:
            order = torch.rand(batch, tokens).argsort(1)
            back = order.argsort(1)[:, :, None].expand(-1, -1, channels)
            left = int(tokens * (1 - self.mask))
            x = x.gather(1, order[:, :left, None].expand(-1, -1, channels))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if masked:
            token = self.mask_token.expand(batch, tokens - x.shape[1], -1)
            x = torch.cat([x, token], 1).gather(1, back)
        out: Tensor = self.feature(x.flatten(1))
        return out
