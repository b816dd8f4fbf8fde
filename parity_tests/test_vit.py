"""Vision transformers: published names, one run in both frameworks, resumed bit for bit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework, lively_weights
from layer_cases import TINY_VIT
from PIL import Image
from rich.console import Console

from marginface import backbones, losses
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import AdamW
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.training.config.files import resume_config
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

CLASSES, BATCH, STEPS, SIDE = 4, 6, 6, 32
NOISE = 1e-9
MODEL = ModelSpec(TINY_VIT, 8, (SIDE, SIDE), dropout=0.2)


def test_published_names() -> None:
    found = set(backbones.describe("vit_t").parameters())
    parts = ("norm1.bias", "norm2.weight", "attn.qkv.weight", "attn.proj.bias", "mlp.fc2.bias")
    expected = {f"blocks.11.{part}" for part in parts}
    expected |= {"patch_embed.proj.bias", "pos_embed", "mask_token", "norm.weight"}
    expected |= {"feature.0.weight", "feature.1.running_var", "feature.2.weight", "feature.3.bias"}
    assert expected <= found
    assert "blocks.0.attn.qkv.bias" not in found


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_whole_network(torch: Framework, tf: Framework, training: bool) -> None:
    graph, rng = backbones.describe("vit_t", 64), np.random.default_rng(5)
    weights = lively_weights(graph, 1)
    images, upstream = rng.uniform(-1, 1, (4, 3, 112, 112)), rng.normal(size=(4, 64))
    draw = graph.draw(rng, 4) if training else None
    found = []
    for framework in (torch, tf):
        made = framework.backbone(graph, weights, "float64")
        embeddings, gradients = framework.differentiate(made, images, upstream, draw)
        found.append(gradients | {"embeddings": embeddings})
    assert_same_arrays(*found, rtol=1e-8, atol=NOISE)


def learner(framework: Framework, dtype: str = "float64") -> Any:
    loss = losses.get("cosface", scale=8)
    spec = LearnerSpec(MODEL, loss, CLASSES, AdamW(decay_norm_and_bias=False), seed=0, dtype=dtype)
    return framework.backend.create_learner(spec)


def run(made: Any, first: int, count: int, seed: int = 0) -> list[float]:
    """Take steps on drawn images that are seen again and again."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    labels, graph = rng.integers(0, CLASSES, BATCH), MODEL.graph()
    return [
        made.step(images, labels, 1e-3, backbones.draw_backbone(graph, seed, step, BATCH)).loss
        for step in range(first, first + count)
    ]


def test_same_run(torch: Framework, tf: Framework) -> None:
    made = [learner(framework) for framework in (torch, tf)]
    found, expected = (run(each, 0, STEPS) for each in made)
    assert_same_losses(found, expected, 1e-8)
    assert_same_arrays(state_of(made[1]), state_of(made[0]), rtol=1e-6, atol=NOISE)
    with pytest.raises(AssertionError):
        assert_same_losses(run(learner(torch), 0, STEPS, seed=1), expected, 1e-3)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("vit") / "faces", np.random.default_rng(0)
    for number in range(4 * CLASSES):
        folder = root / f"person_{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


def final(output: Path) -> Any:
    """Return the last state of a run."""
    newest = latest_checkpoint(output / "checkpoints")
    assert newest is not None
    assert newest.name == "step-00000004"
    return load_checkpoint(newest).state


def test_a_resumed_run_is_the_same(
    torch: Framework, tf: Framework, faces: Path, tmp_path: Path
) -> None:
    """Bit for bit in each framework, and both end alike."""
    ends = []
    for framework in (torch, tf):
        config = TrainConfig(
            backend=framework.name,
            data=faces,
            output=tmp_path / framework.name,
            backbone=TINY_VIT,
            embedding_size=8,
            input_size=(SIDE, SIDE),
            dropout=0.2,
            loss="cosface",
            scale=8,
            lr=1e-2,
            batch_size=8,
            max_steps=4,
            checkpoint_every=2,
        )
        train(config, console=Console(quiet=True))
        ends.append(final(config.output))
        shutil.rmtree(config.output / "checkpoints" / "step-00000004")
        resumed = resume_config(config, {"output": config.output})
        train(resumed, resume=True, console=Console(quiet=True))
        assert_same_arrays(final(config.output), ends[-1], rtol=0)
    assert_same_arrays(*ends, rtol=1e-3, atol=1e-5)
