"""The seam carries what no loss of today needs: state, randomness, a changed negative."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from comparison import RTOL, assert_same_evaluation
from frameworks import Framework

from marginface.losses import Logit, MarginLoss


@dataclass(frozen=True, kw_only=True)
class Wandering(MarginLoss):
    """A drawn margin, scaled by the norm over its running mean; negatives stretched by it."""

    name: ClassVar[str] = "wandering"
    paper: ClassVar[str] = "-"
    scale: float = 8.0

    def initial_state(self) -> dict[str, Any]:
        return {"mean": np.array(1.5), "count": np.array(0, np.int64)}

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        return {"margin": rng.normal(0.3, 0.05, batch)}

    def prepare(self, cosines: Any, norms: Any, state: Any, draw: Any) -> Any:
        mean = 0.9 * state["mean"] + 0.1 * norms.mean() + 0.01 * cosines.mean()
        return {"margin": draw["margin"] * norms / mean}, {
            "mean": mean,
            "count": state["count"] + 1,
        }

    def target(self, cosine: float, **prepared: float) -> Logit:
        return Logit(cosine - prepared["margin"], 1.0)

    def negative(self, cosine: float, **prepared: float) -> Logit:
        return Logit(cosine * (1 + prepared["margin"]), 1 + prepared["margin"])


def wandering_ops(framework: Framework) -> type:
    """Return the same as tensor code; written once, as both frameworks' tensors take it."""
    mean_of = framework.torch.mean if framework.name == "torch" else framework.tf.reduce_mean

    class WanderingOps(framework.module("losses").LossOps):
        def prepare(self, cosines: Any, norms: Any, state: Any, draw: Any) -> Any:
            mean = 0.9 * state["mean"] + 0.1 * mean_of(norms) + 0.01 * mean_of(cosines)
            after = {"mean": mean, "count": state["count"] + 1}
            return {"margin": draw["margin"] * norms / mean}, after

        def target(self, cosines: Any, prepared: Any) -> Any:
            return cosines - prepared["margin"]

        def negatives(self, cosines: Any, prepared: Any) -> Any:
            return cosines * (1 + prepared["margin"])[:, None]

    return WanderingOps


@pytest.fixture(autouse=True)
def registered(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(framework.module("losses").OPS, Wandering, wandering_ops(framework))


def three_calls(framework: Framework, dtype: str, carry: bool = True) -> None:
    """Compare three calls in a row, each from the state that the one before left."""
    loss, rng = Wandering(), np.random.default_rng(0)
    head, state = framework.head(loss, 6, 5, dtype), loss.initial_state()
    w = rng.normal(size=(5, 6)).astype(dtype)
    for _ in range(3):
        x = rng.normal(size=(4, 6)).astype(dtype)
        labels, draw = rng.integers(0, 5, 4), loss.draw(rng, 4)
        expected = loss.evaluate(x, w, labels, state=state, draw=draw)
        head = head if carry else framework.head(loss, 6, 5, dtype)
        if framework.name == "torch":
            head.zero_grad()
        found = framework.evaluate(head, x, w, labels, draw=draw)
        assert_same_evaluation(found, expected, RTOL[dtype])
        state = expected.state


@pytest.mark.parametrize("dtype", list(RTOL))
def test_state_and_randomness(framework: Framework, dtype: str) -> None:
    three_calls(framework, dtype)


def test_lost_state_is_caught(framework: Framework) -> None:
    with pytest.raises(AssertionError):
        three_calls(framework, "float64", carry=False)


def test_evaluation_leaves_the_state(framework: Framework) -> None:
    """Neither framework's way to say "not training" moves the statistics."""
    loss = Wandering()
    head = framework.head(loss, 6, 5)
    x, labels = np.ones((4, 6), np.float32), np.arange(4)
    draw = loss.draw(np.random.default_rng(0), 4)
    if framework.name == "torch":
        framework.call(head.eval(), x, labels, draw)
        assert head.state.mean.item() == 1.5
    else:
        head(x, labels, draw, training=False)
        assert float(head.state["mean"]) == 1.5
    framework.call(framework.head(loss, 6, 5), x, labels, draw)


def test_state_in_a_learner(framework: Framework) -> None:
    """Learners carry the state through their steps, and `state` returns it."""
    from marginface.deployment.model import ModelSpec
    from marginface.training.optimizers import SGD

    loss, rng = Wandering(), np.random.default_rng(0)
    model = ModelSpec("mobilefacenet", 16, (32, 32))
    learner = framework.backend.create_learner(model, loss, 5, SGD(), seed=0)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    before = learner.state()
    for _ in range(2):
        learner.step(images, np.arange(4), 1e-3, loss.draw(rng, 4))
    after = learner.state()
    assert after["head.state.count"] == 2
    assert after["head.state.mean"] != before["head.state.mean"]
    learner.load_state(before)
    assert learner.state()["head.state.count"] == 0
