"""How often a training step in PyTorch waits for its device: each time leaves a GPU with no work.

A CPU never waits, so reads of values are counted where PyTorch sends them: `item`, `bool`, `float`
and so on are one operation, `nonzero` and masks another, `tolist` and `numpy` are methods.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from frameworks import Framework
from layer_cases import JOINS

from marginface import losses
from marginface.backbones import draw_backbone
from marginface.errors import MarginfaceError
from marginface.heads import draw_step
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW

pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode

CLASSES, BATCH, SIDES = 7, 8, (32, 32)
READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}
MODEL = ModelSpec(JOINS, 16, SIDES, dropout=0.2)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adamw": {"optimizer": AdamW()},
    "state": {"loss": losses.get("curricularface")},
    "sampled": {"sample_rate": 0.8},
    "bfloat16": {"precision": "bfloat16", "head_precision": "bfloat16"},
    "micro-batches": {"accumulation": 2, "recompute": True},
}


class Waits(TorchDispatchMode):
    """Count reads of values on the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tensor: Any) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        for method in ("tolist", "numpy"):
            whole = getattr(tensor, method)
            monkeypatch.setattr(tensor, method, self.counted(method, whole))

    def counted(self, method: str, whole: Any) -> Any:
        def read(*given: Any, **options: Any) -> Any:
            self.seen[method] += 1
            return whole(*given, **options)

        return read

    def __torch_dispatch__(
        self, operation: Any, _types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = operation.name().partition(".")[0]
        self.seen[name] += name in READS
        return operation(*arguments, **(options or {}))


def waits(torch: Framework, monkeypatch: pytest.MonkeyPatch, *, measure: bool, **how: Any) -> Any:
    """Return the reads of one step, after one that allocates."""
    given = {"loss": losses.get("arcface"), "optimizer": SGD(), **how}
    spec = LearnerSpec(MODEL, num_classes=CLASSES, seed=0, device="cpu", **given)
    learner = torch.backend.create_learner(spec)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (BATCH, *SIDES, 3), np.uint8), np.arange(BATCH) % CLASSES
    draw = draw_step(spec.loss, rng, labels, CLASSES, spec.sample_rate)
    draw |= draw_backbone(MODEL.graph(), 0, 0, BATCH)
    learner.step(images, labels, 0.01, draw)
    with monkeypatch.context() as patched, Waits(patched, torch.torch.Tensor) as counted:
        learner.step(images, labels, 0.01, draw, measure=measure)
    return +counted.seen


@pytest.mark.parametrize("measure", [False, True])
@pytest.mark.parametrize("case", list(CASES))
def test_a_step_waits_for_blocks_and_for_what_it_reports(
    torch: Framework, monkeypatch: pytest.MonkeyPatch, case: str, measure: bool
) -> None:
    """Each pass over the classes once, to know whose labels are in which block; then the end."""
    assert waits(torch, monkeypatch, measure=measure, **CASES[case]) == {"tolist": 2 + measure}


def test_float16_waits_for_overflows(torch: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the head, which steps before the backbone's gradients are there, and of those."""
    seen = waits(torch, monkeypatch, measure=False, precision="float16")
    assert seen == {"tolist": 2, "aten::_local_scalar_dense": 2}


def test_a_head_that_checks_is_counted(torch: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what the count is for: a head by itself looks at what it is given."""
    head = torch.head(losses.get("arcface"), 16, CLASSES)
    with monkeypatch.context() as patched, Waits(patched, torch.torch.Tensor) as counted:
        head(torch.torch.ones(2, 16), torch.torch.tensor([0, 1]))
        assert bool(torch.torch.ones(1) > 0)
    assert +counted.seen == {"tolist": 2, "aten::_local_scalar_dense": 1}


def test_labels_are_checked_all_the_same(framework: Framework) -> None:
    spec = LearnerSpec(MODEL, losses.get("arcface"), CLASSES, SGD(), seed=0)
    images = np.zeros((2, *SIDES, 3), np.uint8)
    draw = draw_backbone(MODEL.graph(), 0, 0, 2)
    with pytest.raises(MarginfaceError, match="label 7 is out of range for 7 classes"):
        framework.backend.create_learner(spec).step(images, np.array([0, CLASSES]), 0.01, draw)
