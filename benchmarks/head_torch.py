"""Heads in PyTorch: ours, and those that people write or install."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from head_rivals import RATES, SIZE, THREADS, Found, Rival, Step, step_of
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize

from marginface import losses
from marginface.benchmarking.losses import inputs
from marginface.heads import WEIGHT_STD
from marginface.optimizers import AdamW
from marginface_torch import MarginHead

SCALE, MARGIN = 64.0, 0.5
ARCFACE = losses.get("arcface", scale=SCALE, margin=MARGIN)
# What arcface_torch computes: it records nothing of the margin.
THEIRS = losses.get(
    "arcface", scale=SCALE, margin=MARGIN, gradient="straight_through", past_pi="none"
)


class ArcfaceTorch(nn.Module):
    """The dense head as InsightFace's arcface_torch writes it."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = linear(normalize(embeddings), normalize(self.weight)).clamp(-1, 1)
        rows = torch.arange(len(labels), device=labels.device)
        with torch.no_grad():
            target = logits[rows, labels].arccos()
            logits.arccos_()
            logits[rows, labels] = target + MARGIN
            logits.cos_()
        return cross_entropy(logits * SCALE, labels)


def build(name: str, batch: int, classes: int, dtype: str, weight: Any, block: int | None) -> Rival:
    torch.set_num_threads(THREADS)
    embeddings, numbers = inputs(batch, classes)
    x, y = torch.tensor(embeddings, requires_grad=True), torch.tensor(numbers)
    if step := step_of(name):
        return _stepping(step, x, y, classes, getattr(torch, dtype), block)
    if name.startswith("ours"):
        loss = THEIRS if name == "ours as dense" else ARCFACE
        head: nn.Module = MarginHead(loss, SIZE, classes, block=block)
        if weight is not None:
            head.weight = weight
        return _autograd(head, head.weight, x, y)
    if weight is None:
        weight = nn.Parameter(torch.empty(classes, SIZE).normal_(std=WEIGHT_STD))
    if name == "products":
        return _products(x.detach(), weight)
    if name == "dense":
        return _autograd(ArcfaceTorch(weight), weight, x, y)
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        raise SystemExit("run: pip install pytorch-metric-learning")
    from pytorch_metric_learning.losses import ArcFaceLoss

    theirs = ArcFaceLoss(1, SIZE, margin=np.degrees(MARGIN), scale=SCALE)
    theirs.num_classes, theirs.W = classes, nn.Parameter(weight.detach().T.contiguous())
    return _autograd(theirs, theirs.W, x, y, transposed=True)


def _autograd(
    head: nn.Module, weight: Any, x: torch.Tensor, y: torch.Tensor, *, transposed: bool = False
) -> Rival:
    def run() -> torch.Tensor:
        value: torch.Tensor = head(x, y)
        value.backward()
        return value.detach()

    def step() -> float:
        value = run().item()
        x.grad = weight.grad = None
        return value

    def evaluate(rows: np.ndarray) -> Found:
        value = run().item()
        gradient = weight.grad.T if transposed else weight.grad
        evaluated = value, x.grad.numpy().copy(), gradient[torch.tensor(rows)].numpy().copy()
        x.grad = weight.grad = None
        return evaluated

    return Rival(step, evaluate, weight)


def _products(x: torch.Tensor, weight: torch.Tensor) -> Rival:
    """Return the three matrix products that any head takes, and nothing else."""
    weight = weight.detach()
    logits, d_x, d_weight = x @ weight.T, torch.empty_like(x), torch.empty_like(weight)

    def step() -> float:
        torch.mm(x, weight.T, out=logits)
        torch.mm(logits.T, x, out=d_weight)
        torch.mm(logits, weight, out=d_x)
        return d_x[0, 0].item()

    return Rival(step, None, weight)


def _stepping(
    given: Step,
    x: torch.Tensor,
    y: torch.Tensor,
    classes: int,
    dtype: torch.dtype,
    block: int | None,
) -> Rival:
    """Return a whole step, update and all."""
    spec, rate = given.optimizer, RATES[given.optimizer.name]
    update = spec if given.inside else None
    head = MarginHead(
        ARCFACE, SIZE, classes, dtype=dtype, update=update, sample_rate=given.share, block=block
    )
    rng, labels = np.random.default_rng(0), y.numpy()
    optimizer: torch.optim.Optimizer | None = None
    if given.inside:
        head.rate = rate
    elif isinstance(spec, AdamW):
        decay = spec.weight_decay
        optimizer = torch.optim.AdamW([head.weight], rate, weight_decay=decay, fused=True)
    else:
        optimizer = torch.optim.SGD([head.weight], rate, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        value = head(x, y, head.draw(rng, labels))
        value.backward()
        x.grad = None
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        return value.item()

    return Rival(step, None, head.weight)
