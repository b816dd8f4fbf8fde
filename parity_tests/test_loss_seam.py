"""All that the seam can carry, at once, in a loss made up for it; each part has a mutant."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from comparison import RTOL, assert_same_evaluation, state_of
from frameworks import Framework
from layer_cases import ROWS

from marginface import losses
from marginface.errors import MarginfaceError
from marginface.learner import LearnerSpec
from marginface.losses import Logit, MarginLoss
from marginface.losses.values import Sum, softplus_sum
from marginface.model import ModelSpec
from marginface.optimizers import SGD

SIZE, CLASSES, BATCH = 6, 5, 4


@dataclass(frozen=True, kw_only=True)
class Wandering(MarginLoss):
    """A drawn margin, scaled by the norm over its running mean; negatives stretched by it.

    Logits are multiplied by the norm, the margin grows with it, long embeddings cost; two centres a
    class; one bias for all, which only a reduction by softplus terms can learn; negatives whose
    squares lower the target; a scale that grows with the steps.
    """

    name: ClassVar[str] = "wandering"
    norm_scaled: ClassVar[bool] = True
    adds: ClassVar[Sum] = "softplus"
    draws: ClassVar[tuple[str, ...]] = ("margin",)
    tallies: ClassVar[tuple[str, ...]] = ("squares",)
    scale: float = 3.0

    @property
    def num_centers(self) -> int:
        return 2

    def initial_bias(self, num_classes: int) -> Any:
        return np.array([0.1 * num_classes])

    def initial_state(self, num_classes: int) -> dict[str, Any]:
        return {"mean": np.array(0.3 * num_classes), "count": np.array(0, np.int64)}

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, Any]:
        return {"margin": rng.normal(0.3, 0.05, batch)}

    def prepare(self, cosines: Any, norms: Any, state: Any, draw: Any) -> Any:
        mean = 0.9 * state["mean"] + 0.1 * norms.mean() + 0.01 * cosines.mean()
        return {"margin": draw["margin"] * norms / mean}, {
            "mean": mean,
            "count": state["count"] + 1,
        }

    def radius(self, state: Any) -> float:
        return self.scale * (1 + float(state["count"]))

    def tally(self, cosine: float, _: Any) -> dict[str, float]:
        return {"squares": cosine**2}

    def target(self, cosine: float, norm: float, prepared: Any) -> Logit:
        lower = prepared["margin"] * norm + 0.1 * prepared["squares"]
        return Logit(cosine - lower, 1.0, -prepared["margin"])

    def negative(self, cosine: float, prepared: Any) -> Logit:
        return Logit(cosine * (1 + prepared["margin"]), 1 + prepared["margin"])

    def reduce(self, logits: list[float], label: int) -> tuple[float, list[float]]:
        return softplus_sum(logits, label, 1.0, 0.5)

    def penalty(self, norm: float) -> tuple[float, float]:
        return 0.5 * norm**2, norm


def wandering_ops(framework: Framework, change: str = "") -> type:
    """Return the same as tensor code, or a little wrong; both frameworks' tensors take it."""
    in_torch = framework.name == "torch"
    mean_of = framework.torch.mean if in_torch else framework.tf.reduce_mean

    softplus = framework.torch.nn.functional.softplus if in_torch else framework.tf.nn.softplus

    def fixed(tensor: Any) -> Any:
        return tensor.detach() if in_torch else framework.tf.stop_gradient(tensor)

    class WanderingOps(framework.module("losses").LossOps):
        def prepare(self, cosines: Any, norms: Any, state: Any, draw: Any) -> Any:
            mean = 0.9 * state["mean"] + 0.1 * mean_of(norms) + 0.01 * mean_of(cosines)
            after = {"mean": mean, "count": state["count"] + (change != "count stands still")}
            margin = draw["margin"] * norms / (state["mean"] if change == "old mean" else mean)
            return {"margin": margin}, after

        def radius(self, state: Any) -> Any:
            steps = state["count"] * (change != "old radius")
            if in_torch:
                return self.spec.scale * (1 + steps)
            return self.spec.scale * (1 + framework.tf.cast(steps, state["mean"].dtype))

        def tally(self, cosines: Any, _: Any) -> Any:
            return {"squares": cosines ** (3 if change == "cubes" else 2)}

        def target(self, cosines: Any, norms: Any, prepared: Any) -> Any:
            norms = fixed(norms) if change == "no gradient through the margin" else norms
            return cosines - prepared["margin"] * norms - 0.1 * prepared["squares"]

        def negatives(self, cosines: Any, prepared: Any) -> Any:
            stretch = (1 + prepared["margin"])[:, None]
            return cosines * (stretch[:1] if change == "another sample's margin" else stretch)

        def reduce(self, target: Any, others: Any) -> Any:
            if change == "softmax":
                return super().reduce(target, others)
            weights = (0.5, 1.0) if change == "weights the other way" else (1.0, 0.5)
            return weights[0] * softplus(-target) + weights[1] * others

        def penalty(self, norms: Any) -> Any:
            norms = fixed(norms) if change == "no gradient of the penalty" else norms
            return 0.5 * norms**2 * (change != "no penalty")

    return WanderingOps


@pytest.fixture(autouse=True)
def registered(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(framework.module("losses").OPS, Wandering, wandering_ops(framework))


def problem(rng: np.random.Generator, dtype: str = "float64") -> tuple[Any, Any, Any, Any]:
    """Return embeddings, two class weights a class, labels and a draw."""
    x = rng.normal(size=(BATCH, SIZE)).astype(dtype)
    w = rng.normal(size=(2 * CLASSES, SIZE)).astype(dtype)
    return x, w, rng.integers(0, CLASSES, BATCH), Wandering().draw(rng, BATCH)


def three_calls(framework: Framework, dtype: str = "float64", carry: bool = True) -> None:
    """Compare three calls in a row, each from the state that the one before left."""
    loss, rng = Wandering(), np.random.default_rng(0)
    head, state = framework.head(loss, SIZE, CLASSES, dtype), loss.initial_state(CLASSES)
    for call in range(3):
        x, w, labels, draw = problem(rng, dtype)
        bias = np.array([0.2 * call], dtype)
        expected = loss.evaluate(x, w, labels, bias=bias, state=state, draw=draw)
        head = head if carry else framework.head(loss, SIZE, CLASSES, dtype)
        if framework.name == "torch":
            head.zero_grad()
        found = framework.evaluate(head, x, w, labels, bias=bias, draw=draw)
        assert set(found.gradients) == {"embeddings", "weight", "bias"}
        assert_same_evaluation(found, expected, RTOL[dtype])
        state = expected.state


@pytest.mark.parametrize("dtype", list(RTOL))
def test_everything_at_once(framework: Framework, dtype: str) -> None:
    three_calls(framework, dtype)


def test_lost_state_is_caught(framework: Framework) -> None:
    with pytest.raises(AssertionError):
        three_calls(framework, carry=False)


@pytest.mark.parametrize(
    "change",
    [
        "count stands still",
        "old mean",
        "old radius",
        "cubes",
        "no gradient through the margin",
        "another sample's margin",
        "softmax",
        "weights the other way",
        "no gradient of the penalty",
        "no penalty",
    ],
)
def test_wrong_tensor_code_is_caught(
    framework: Framework, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = wandering_ops(framework, change)
    monkeypatch.setitem(framework.module("losses").OPS, Wandering, wrong)
    with pytest.raises(AssertionError):
        three_calls(framework)


@pytest.mark.parametrize("change", ["centres by turns", "one centre", "bias", "bias gradient"])
def test_wrong_heads_are_caught(framework: Framework, change: str) -> None:
    """What the head itself does for a loss: centres and bias."""
    loss = Wandering()
    x, w, labels, draw = problem(np.random.default_rng(0))
    head, bias = framework.head(loss, SIZE, CLASSES, "float64"), np.array([0.2])
    expected = loss.evaluate(x, w, labels, bias=bias, draw=draw)
    if change == "centres by turns":  # all first centres, then all second ones
        w = np.concatenate([w[::2], w[1::2]])
    elif change == "one centre":
        w = w[::2].repeat(2, 0)
    elif change == "bias":
        bias = bias + 1e-6
    found = framework.evaluate(head, x, w, labels, bias=bias, draw=draw)
    if change == "bias gradient":
        found.gradients["bias"] *= 1.0001
    with pytest.raises(AssertionError):
        assert_same_evaluation(found, expected, RTOL["float64"])


def test_gradients_of_the_spec_are_slopes() -> None:
    """Central differences of the loss, with what `prepare` and `tally` return held fixed."""

    @dataclass(frozen=True, kw_only=True)
    class Held(Wandering):
        def prepare(self, *given: Any) -> Any:
            return {"margin": given[-1]["margin"]}, dict(given[2])

        def tally(self, *_: Any) -> Any:
            return {"squares": 0.1}

    rng = np.random.default_rng(0)
    x, w, labels, draw = problem(rng)
    arguments = {"embeddings": x, "weight": w, "bias": np.array([0.2])}
    gradients = Held().evaluate(**arguments, labels=labels, draw=draw).gradients
    for name, values in arguments.items():
        way = rng.normal(size=values.shape)
        ends = [
            Held().evaluate(**arguments | {name: values + d * way}, labels=labels, draw=draw).loss
            for d in (1e-6, -1e-6)
        ]
        slope = float((gradients[name] * way).sum())
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-6)


def test_evaluation_leaves_the_state(framework: Framework) -> None:
    """Neither framework's way to say "not training" moves the statistics."""
    loss = Wandering()
    head = framework.head(loss, SIZE, CLASSES)
    x, _, labels, draw = problem(np.random.default_rng(0), "float32")
    if framework.name == "torch":
        framework.call(head.eval(), x, labels, draw)
        assert head.state.mean.item() == 1.5
        framework.call(head.train(), x, labels, draw)
        assert head.state.mean.item() != 1.5
    else:
        head(x, labels, draw, training=False)
        assert float(head.state["mean"]) == 1.5
        head(x, labels, draw, training=True)
        assert float(head.state["mean"]) != 1.5


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (None, "draws margin at random, got nothing; pass draw=loss.draw(rng, batch), to a head"),
        ({"margins": np.ones(4)}, "wandering draws margin at random, got margins"),
        ({"margin": np.ones(3)}, "draw['margin'] has shape (3,), expected [4]"),
        ({"margin": np.ones((4, 1))}, "draw['margin'] has shape (4, 1), expected [4]"),
    ],
)
def test_a_wrong_draw_is_refused(framework: Framework, draw: Any, message: str) -> None:
    head = framework.head(Wandering(), SIZE, CLASSES, "float64")
    x, _, labels, _ = problem(np.random.default_rng(0))
    with pytest.raises(MarginfaceError) as caught:
        framework.call(head, x, labels, draw)
    assert message in str(caught.value)
    plain = framework.head("arcface", SIZE, CLASSES, "float64")
    with pytest.raises(MarginfaceError, match="arcface draws nothing at random, got margin"):
        framework.call(plain, x, labels, {"margin": np.ones(4)})


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_state_is_no_narrower_than_float32(framework: Framework, dtype: str) -> None:
    """A running mean of 20 that moves by a hundredth stands still in half precision."""
    expected = "float64" if dtype == "float64" else "float32"
    state = framework.head("adaface", SIZE, CLASSES, dtype).state
    values = dict(state.named_buffers()) if framework.name == "torch" else state
    assert {str(v.dtype).removeprefix("torch.") for v in values.values()} == {expected}
    counts = framework.head("sphereface", SIZE, CLASSES, dtype).state
    step = counts.step if framework.name == "torch" else counts["step"]
    assert str(step.dtype).removeprefix("torch.") == "int64"


def test_state_in_a_learner(framework: Framework) -> None:
    """Learners carry the state through their steps, and `state` returns it."""
    loss, rng = Wandering(), np.random.default_rng(0)
    model = ModelSpec(ROWS, 16, (32, 32))
    learner = framework.backend.create_learner(LearnerSpec(model, loss, CLASSES, SGD(), seed=0))
    images = rng.integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
    before = state_of(learner)
    for _ in range(2):
        learner.step(images, np.arange(4), 1e-3, loss.draw(rng, BATCH))
    after = state_of(learner)
    assert after["head.state.count"] == 2
    assert after["head.state.mean"] != before["head.state.mean"]
    assert after["head.bias"] != before["head.bias"]
    assert after["head.weight"].shape == (2 * CLASSES, 16)
    learner.load_arrays(before)
    assert state_of(learner)["head.state.count"] == 0


def test_every_loss_names_what_it_draws() -> None:
    """`draws` is what heads check against; `draw` is what a trainer passes."""
    rng = np.random.default_rng(0)
    drawing = [name for name in losses.names() if losses.get(name).draws]
    assert len(drawing) == 4
    for name in losses.names():
        drawn = losses.get(name).draw(rng, 3)
        assert sorted(drawn) == sorted(losses.get(name).draws)
        assert all(value.shape == (3,) for value in drawn.values())
