"""Both frameworks' optimizers against the core's reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, state_of
from frameworks import Framework, lively_weights
from layer_cases import SIDES, case

from marginface import losses
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD, AdamW, Optimizer

UNDECAYED = {"vector"}
RTOL = {"float64": 1e-12, "float32": 2e-6}
SPECS = [
    SGD(momentum=0.9, weight_decay=5e-4),
    SGD(momentum=0.5, weight_decay=0.1, decay_norm_and_bias=False),
    SGD(momentum=0.0, weight_decay=0.0),
    AdamW(),
    AdamW(decay_norm_and_bias=False, beta1=0.8, beta2=0.99, epsilon=1e-3),
]


def check(framework: Framework, spec: Optimizer, expected: Optimizer, dtype: str) -> None:
    """Compare four steps of `spec` in a framework with the reference's of `expected`."""
    rng = np.random.default_rng(0)
    shapes = {"matrix": (3, 4), "kernel": (2, 3, 3, 3), "vector": (5,)}
    weights = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    gradients = [
        {name: (rng.normal(size=shape) * 10.0**-i).astype(dtype) for name, shape in shapes.items()}
        for i in range(4)
    ]
    found, slots = framework.optimize(spec, weights, gradients, 0.05, UNDECAYED)
    wanted, wanted_slots = reference(expected, weights, gradients)
    assert_same_arrays(found, wanted, RTOL[dtype])
    if getattr(spec, "momentum", 1.0) > 0:  # without it PyTorch keeps no velocity: none is read
        assert_same_arrays(slots, wanted_slots, RTOL[dtype])


def reference(spec: Optimizer, weights: Any, gradients: Any) -> Any:
    """Return weights and slots after all steps, in float64."""
    found, slots = {}, {}
    for name, start in weights.items():
        weight = start.astype(np.float64)
        own = {slot: np.zeros_like(weight) for slot in spec.slots}
        for number, step in enumerate(gradients, 1):
            gradient = step[name].astype(np.float64)
            decay = name not in UNDECAYED
            weight, own = spec.update(weight, gradient, own, 0.05, number, decay=decay)
        found[name] = weight
        slots |= {f"{slot}.{name}": value for slot, value in own.items()}
    return found, slots


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("dtype", list(RTOL))
def test_steps(framework: Framework, spec: Optimizer, dtype: str) -> None:
    check(framework, spec, spec, dtype)


@pytest.mark.parametrize("clip_norm", [None, 0.5, 1e6])
@pytest.mark.parametrize("factor", [1.0, 0.0])
def test_clipping(framework: Framework, clip_norm: float | None, factor: float) -> None:
    rng = np.random.default_rng(0)
    gradients = [factor * rng.normal(size=shape) for shape in ((3, 4), (5,))]
    before = [gradient.copy() for gradient in gradients]
    clipped, norm = framework.clip(gradients, clip_norm)
    expected = np.sqrt(sum((gradient**2).sum() for gradient in before))
    assert norm == pytest.approx(expected, rel=1e-6)
    scale = 1.0 if clip_norm is None else min(1.0, clip_norm / (expected + 1e-6))
    for found, gradient in zip(clipped, before, strict=True):
        np.testing.assert_allclose(found, scale * gradient, rtol=1e-6)


@pytest.mark.parametrize(
    "change", [{"momentum": 0.89}, {"weight_decay": 6e-4}, {"decay_norm_and_bias": False}]
)
def test_mutants_are_caught(framework: Framework, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check(framework, replace(SPECS[0], **change), SPECS[0], "float32")


def test_wrong_epsilon_is_caught(framework: Framework) -> None:
    with pytest.raises(AssertionError):
        check(framework, AdamW(epsilon=1e-4), AdamW(), "float32")


@pytest.mark.parametrize("spec", [SGD(weight_decay=0.1), AdamW()], ids=["sgd", "adamw"])
def test_norms_and_biases_of_a_learner_need_not_decay(framework: Framework, spec: Any) -> None:
    """Those of the head, too: the first step moves them as one without any decay does."""
    graph, rng = case("batch_norm"), np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, *SIDES, 3), np.uint8), np.arange(8) % 3
    started = {f"backbone.{name}": array for name, array in lively_weights(graph, 1).items()}
    stepped = []
    for changes in ({"weight_decay": 0.0}, {"decay_norm_and_bias": False}):
        loss, optimizer = losses.get("sphereface2", scale=8), replace(spec, **changes)
        made = framework.backend.create_learner(
            LearnerSpec(ModelSpec.of(graph), loss, 3, optimizer, seed=0, dtype="float64")
        )
        made.load_arrays(started, strict=False)
        made.step(images, labels, 0.1, {})
        stepped.append(state_of(made))
    without, spared = stepped
    found = {name for name in without if not np.array_equal(spared[name], without[name])}
    assert {name for name in found if not name.startswith("optimizer")} == {
        "backbone.bare_linear.weight",
        "backbone.linear.weight",
        "head.weight",
    }
