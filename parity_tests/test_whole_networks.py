"""Networks at their own size that no other file has: one forward pass; steps in bfloat16."""

from typing import Any

import numpy as np
import pytest
from comparison import assert_same_losses
from frameworks import Framework
from test_backbones import check

from marginface import backbones, losses
from marginface.backbones.ir import NETWORKS as IR
from marginface.backbones.vit import SIZES
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

pytestmark = pytest.mark.slow
# The smallest of each family; EdgeFace's and GhostFaceNet's are in test_mobile.py.
SMALLEST = ("iresnet18", "ir18", "ir_se18", "ir50_evolve", "mbf", "mobilefacenet", "vit_t")
CLASSES, BATCH = 6, 4


@pytest.mark.parametrize("name", [*IR, *SIZES])  # of the others: test_backbones.py
def test_same_embeddings(torch: Framework, tf: Framework, name: str) -> None:
    check((torch, tf), backbones.describe(name), "float32", training=False)


@pytest.mark.parametrize("name", SMALLEST)
def test_bfloat16(torch: Framework, framework: Framework, name: str) -> None:
    """Two steps: the second loss shows what the first one learned."""
    wanted, found = two_steps(torch, name, "full"), two_steps(framework, name, "bfloat16")
    assert_same_losses(found, wanted, 0.1)
    assert np.abs(np.divide(found, wanted) - 1).max() > 1e-5  # it was in half precision


def two_steps(framework: Framework, name: str, precision: Any) -> list[float]:
    model, loss = ModelSpec(name, 32), losses.get("arcface", scale=16, margin=0.3)
    spec = LearnerSpec(model, loss, CLASSES, SGD(), seed=0, precision=precision)
    learner, rng = framework.backend.create_learner(spec), np.random.default_rng(7)
    images = rng.integers(0, 256, (BATCH, 112, 112, 3), np.uint8)
    labels = rng.integers(0, CLASSES, BATCH)
    return [
        learner.step(
            images, labels, 1e-3, backbones.draw_backbone(model.graph(), 0, step, BATCH)
        ).loss
        for step in range(2)
    ]
