"""A learner in several processes, from a checkpoint to the next: a program that a test starts.

    python learning.py torch|tf CASE CHECKPOINT OUT

RANK, WORLD_SIZE and so on say which process this is. CHECKPOINT may be absent: then it starts anew.
Each process's reports (loss, gradient norm, and of every other step the head's metrics) and whole
state go to OUT.RANK.npz; together they write a checkpoint to OUT.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from comparison import state_of
from layer_cases import JOINS, ROWS, TINY_VIT

from marginface import load_backend, losses
from marginface.backbones import draw_backbone
from marginface.backbones.parts import Tuning
from marginface.heads import draw_step
from marginface.heads.sampling import SAMPLE_DRAWS
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW
from marginface.runs.checkpoints import open_checkpoint
from marginface.training.saving import save_checkpoint

CLASSES, BATCH, STEPS, RATE = 20, 12, 5, 0.02
SIDES = (32, 32)
PARTS = ModelSpec(ROWS, 16, SIDES, dropout=0.2)
SMALL, JOINED = ModelSpec(ROWS, 16, SIDES), ModelSpec(JOINS, 16, SIDES, dropout=0.2)
CNN, VIT = ModelSpec("mobilefacenet", 16, SIDES), ModelSpec(TINY_VIT, 16, SIDES, dropout=0.3)
# Model, loss, optimizer, sample rate. Small rates and few steps: BatchNorm amplifies rounding.
CASES: dict[str, tuple[ModelSpec, Any, Any, float]] = {
    "all": (CNN, losses.get("adaface", scale=16), SGD(), 1.0),
    "sampled": (
        CNN,
        losses.get("elasticface_arc", scale=16),
        SGD(decay_norm_and_bias=False),
        0.8,
    ),
    "a sample of small": (SMALL, losses.get("elasticface_arc", scale=16), SGD(), 0.8),
    "adamw sampled": (SMALL, losses.get("softmax"), AdamW(), 0.8),
    "adamw": (CNN, losses.get("softmax"), AdamW(clip_norm=None), 1.0),
    "noise": (VIT, losses.get("cosface", scale=16), SGD(), 1.0),  # dropout, drop path, masks
    "parts": (PARTS, losses.get("cosface", scale=16), AdamW(), 1.0),
    "micro-batches": (JOINED, losses.get("adaface", scale=16), SGD(), 0.8),
    "rows of classes": (SMALL, losses.get("uss", scale=16), SGD(), 0.8),
    "head alone": (PARTS, losses.get("cosface", scale=16), SGD(), 0.8),
}
TUNING = {
    "parts": Tuning(  # learn from within the first half of the steps on
        freeze=("stem", "layer2"), unfreeze_at=3, lr_factor={"head": 2}, layer_decay=0.9
    ),
    "head alone": Tuning(freeze=("backbone",)),
}
HOW: dict[str, dict[str, Any]] = {"micro-batches": {"accumulation": 2, "recompute": True}}


def create(name: str, case: str, group: Any) -> Any:
    """Return a learner at its start."""
    model, loss, optimizer, sample_rate = CASES[case]
    spec = LearnerSpec(
        model,
        loss,
        CLASSES,
        optimizer,
        seed=0,
        dtype="float64",
        group=group,
        sample_rate=sample_rate,
        tuning=TUNING.get(case, Tuning()),
        **HOW.get(case, {}),
    )
    return load_backend(name).create_learner(spec)


@cache
def alone(name: str, case: str) -> tuple[Any, Any]:
    """Return a learner and its first state; its graph is traced once, however often it starts."""
    learner = create(name, case, None)
    return learner, state_of(learner)


def learn(name: str, case: str, state: Any, first: int, group: Any) -> Any:
    """Return the reports of STEPS steps from step `first` on, and the learner after them."""
    model, loss, optimizer, sample_rate = CASES[case]
    if group is None:
        rank, size = 0, 1
        learner, start = alone(name, case)
        learner.load_arrays(start if state is None else state)
    else:
        rank, size = group.rank, group.size
        learner = create(name, case, group)
        if state is not None:
            learner.load_arrays(state)
    graph, reports = model.graph(), []
    for step in range(first, first + STEPS):
        rng = np.random.default_rng([3, step])
        images = rng.integers(0, 256, (BATCH, *SIDES, 3), np.uint8)
        labels = rng.integers(0, CLASSES, BATCH)
        draw = draw_step(loss, rng, labels, CLASSES, sample_rate)
        draw |= draw_backbone(graph, 3, step, BATCH)
        own = {k: v[rank::size] if k not in SAMPLE_DRAWS else v for k, v in draw.items()}
        rate = RATE if isinstance(optimizer, SGD) else 1e-4
        share = images[rank::size], labels[rank::size]
        result = learner.step(*share, rate, own, measure=step % 2 == 0)
        reports.append([result.loss, result.gradient_norm, *(result.metrics or (-1, -1))])
    return np.array(reports), learner


def main() -> None:
    """Learn as one of several processes; leave the losses, the arrays and a checkpoint."""
    framework, case, path, out = sys.argv[1:]
    before, first = None, 0
    if Path(path).exists():
        before, first = open_checkpoint(Path(path)).state, STEPS
    group = load_backend(framework).join()
    assert os.environ["WORLD_SIZE"] == f"{group.size}"
    losses_found, learner = learn(framework, case, before, first, group)
    np.savez(f"{out}.{group.rank}.npz", losses=losses_found, **state_of(learner))
    save_checkpoint(group, learner, Path(out), first + STEPS, {}, shared=True, keep=1)


if __name__ == "__main__":
    main()  # whose learner goes before the process group does
