"""The loop that people write in PyTorch: eager, NCHW, a dense head as arcface_torch has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize
from torch.utils.data import DataLoader, Dataset

RATE = 0.01


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


class Faces(Dataset[tuple[torch.Tensor, int]]):
    """Image files with their labels: Pillow, a flip by chance, -1 .. 1, as arcface_torch reads."""

    def __init__(self, paths: Sequence[Path], labels: np.ndarray) -> None:
        self.paths, self.labels = paths, labels.tolist()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        pixels = torch.from_numpy(np.array(Image.open(self.paths[index]).convert("RGB")))
        if torch.rand(1) < 0.5:
            pixels = pixels.flip(1)
        return pixels.permute(2, 0, 1).float().div(255).sub(0.5).div(0.5), self.labels[index]


def plain_batches(
    paths: Sequence[Path], labels: np.ndarray, batch: int, workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield shuffled batches without end: images [batch, 3, H, W] in -1 .. 1, labels."""
    loader = DataLoader(
        Faces(paths, labels),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while True:
        yield from loader


def plain_training(
    backbone: nn.Module, head: nn.Module, *, half: bool = False
) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Return one training step on images [N, 3, H, W] in -1 .. 1 and labels.

    Half has the backbone under autocast to bfloat16.
    """
    parameters = [p for p in (*backbone.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=5e-4)

    def step(images: torch.Tensor, labels: torch.Tensor) -> float:
        backbone.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            embeddings = backbone(images)
        loss = head(embeddings.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    return step


def plain_step(
    backbone: nn.Module,
    head: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    device: str | torch.device = "cpu",
    half: bool = False,
) -> Callable[[], float]:
    """Return one whole training step on a fixed batch of uint8 images [N, H, W, 3]."""
    train = plain_training(backbone.to(device), head.to(device), half=half)

    def step() -> float:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device).float()
        return train((batch - 127.5) / 127.5, torch.from_numpy(labels).to(device))

    return step
