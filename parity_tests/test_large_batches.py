"""Accumulation is the large batch, and recomputation changes no bit."""

import shutil
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import DEVICE, Framework
from layer_cases import JOINS, ROWS, TINY_VIT

from marginface import losses
from marginface.backbones import draw_backbone
from marginface.backbones.parts import Tuning
from marginface.errors import MarginfaceError
from marginface.heads import draw_step
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW

CLASSES, BATCH, STEPS, SIDES = 20, 12, 4, (32, 32)
NORMS = ModelSpec(ROWS, 16, SIDES, dropout=0.2)
JOINED = ModelSpec(JOINS, 16, SIDES, dropout=0.2)
VIT = ModelSpec(TINY_VIT, 16, SIDES, dropout=0.3)  # dropout, drop path, masks, no BatchNorm
# Where BatchNorm rests, or there is none, micro-batches are one batch: state in the loss, a sample
# of the classes, margins by rank, and a head that an optimizer steps.
CASES: dict[str, tuple[ModelSpec, str, Any, dict[str, Any]]] = {
    "state": (NORMS, "adaface", SGD(), {}),
    "sampled": (VIT, "elasticface_arc_plus", SGD(), {"sample_rate": 0.8}),
    "adamw": (VIT, "softmax", AdamW(clip_norm=None), {}),
    "nothing learns but the head": (NORMS, "cosface", SGD(), {}),
}
TUNING = {"nothing learns but the head": Tuning(freeze=("backbone",), frozen_statistics=True)}
RESTING = Tuning(frozen_statistics=True)


def run(
    framework: Framework, case: str, steps: int = STEPS, *, compiled: bool = False, **how: Any
) -> tuple[Any, Any]:
    """Return the reports of some steps, and the learner after them."""
    model, loss, optimizer, more = CASES[case]
    made = losses.get(loss)
    given = {"dtype": "float64", "tuning": TUNING.get(case, RESTING), **more, **how}
    learner = framework.backend.create_learner(
        LearnerSpec(model, made, CLASSES, optimizer, seed=0, deterministic=DEVICE != "cpu", **given)
    )
    if compiled:
        learner.compile()
    reports = []
    for step in range(steps):
        rng = np.random.default_rng([3, step])
        images = rng.integers(0, 256, (BATCH, *SIDES, 3), np.uint8)
        labels = rng.integers(0, CLASSES, BATCH)
        draw = draw_step(made, rng, labels, CLASSES, more.get("sample_rate", 1.0))
        draw |= draw_backbone(model.graph(), 3, step, BATCH)
        result = learner.step(images, labels, 0.001, draw, measure=step == 1)
        reports.append([result.loss, result.gradient_norm, *(result.metrics or (-1, -1))])
    return np.array(reports), learner


@pytest.mark.parametrize("case", list(CASES))
def test_micro_batches_are_one_batch(framework: Framework, case: str) -> None:
    wanted, whole = run(framework, case)
    found, cut = run(framework, case, accumulation=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    assert_same_arrays(state_of(cut), state_of(whole), rtol=1e-9, atol=1e-12)
    assert wanted[0, 0] != wanted[1, 0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs g++")
@pytest.mark.filterwarnings("error:torch.compile failed")
def test_so_they_are_compiled(torch: Framework) -> None:
    how = {"accumulation": 3, "tuning": Tuning()}  # with BatchNorm, whose statistics move once
    wanted, plain = run(torch, "state", **how)
    found, fused = run(torch, "state", compiled=True, **how)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    assert_same_arrays(state_of(fused), state_of(plain), rtol=1e-9, atol=1e-12)


def test_batch_norm_sees_each_micro_batch_once(framework: Framework) -> None:
    """Statistics move as in plain steps on the micro-batches, at a rate that moves nothing else."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, *SIDES, 3), np.uint8)
    labels, states = np.arange(BATCH), []
    for parts in (1, 3):
        loss = losses.get("cosface")
        spec = LearnerSpec(
            ModelSpec(ROWS, 16, SIDES), loss, CLASSES, SGD(), 0, accumulation=parts, dtype="float64"
        )
        learner = framework.backend.create_learner(spec)
        size = BATCH // (4 - parts)
        for start in range(0, BATCH, size):
            learner.step(images[start : start + size], labels[start : start + size], 0.0, {})
        states.append({k: v for k, v in state_of(learner).items() if ".running_" in k})
    assert states[0]
    assert_same_arrays(states[1], states[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "how"),
    [(JOINED, {"accumulation": 3}), (JOINED, {"precision": "bfloat16"}), (VIT, {})],
    ids=lambda value: str(getattr(value, "backbone", value)),
)
def test_recomputation_changes_no_bit(
    framework: Framework, model: ModelSpec, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "own", (model, "arcface", SGD(), {}))
    how = {"dtype": "float32", "tuning": Tuning(), **how}
    wanted, plain = run(framework, "own", 2, **how)
    found, again = run(framework, "own", 2, **how, recompute=True)
    assert again.backbone.recomputing
    assert len(model.graph().segments()) > 3
    np.testing.assert_array_equal(found, wanted)
    assert_same_arrays(state_of(again), state_of(plain), rtol=0)


def test_the_frameworks_accumulate_alike(torch: Framework, tf: Framework) -> None:
    how = {"accumulation": 2, "recompute": True, "tuning": Tuning()}
    found = [run(each, "state", **how) for each in (torch, tf)]
    assert_same_losses(found[1][0][:, 0], found[0][0][:, 0], 1e-8)
    assert_same_arrays(state_of(found[1][1]), state_of(found[0][1]), rtol=1e-7, atol=1e-9)


def test_a_batch_that_cannot_be_cut(framework: Framework) -> None:
    with pytest.raises(MarginfaceError, match="12 images cannot be cut into 5 micro-batches"):
        run(framework, "state", accumulation=5)
