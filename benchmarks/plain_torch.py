"""The loop that people write in PyTorch: eager, NCHW, a dense head as arcface_torch has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize


class PlainArcFace(nn.Module):
    """Normalise, linear, clamp, arccos, add, cos, scale, cross entropy."""

    def __init__(self, weight: np.ndarray, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        cosines = linear(normalize(embeddings), normalize(self.weight)).clamp(-1 + 1e-7, 1 - 1e-7)
        rows = torch.arange(len(labels), device=labels.device)
        target = torch.cos(torch.acos(cosines[rows, labels]) + self.margin)
        past = cosines[rows, labels] - self.margin * math.sin(self.margin)
        target = torch.where(cosines[rows, labels] > math.cos(math.pi - self.margin), target, past)
        logits = cosines.clone()
        logits[rows, labels] = target
        return cross_entropy(self.scale * logits, labels)


def plain_step(
    backbone: nn.Module, head: nn.Module, images: np.ndarray, labels: np.ndarray
) -> Callable[[], float]:
    """Return one whole training step on a fixed batch of uint8 images [N, H, W, 3]."""
    parameters = [p for p in (*backbone.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)
    targets = torch.from_numpy(labels)

    def step() -> float:
        backbone.train()
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float()
        loss = head(backbone((batch - 127.5) / 127.5), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    return step
