"""IR and IR-SE: the peers' own network with the same names, and one run in both frameworks."""

from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework, lively_weights
from layer_cases import FIRST_IR, SECOND_IR, TINY_IR

from marginface import backbones, losses
from marginface.backbones import Graph
from marginface.backbones.ir import NETWORKS
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

STEPS, SIDE, SIZE, CLASSES = 8, 32, 16, 6
SMALLEST = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("ir18", "ir_se18", "ir50_evolve")
]


def plain(name: str, size: int, side: int) -> Any:
    from plain_ir import PlainIR

    return PlainIR((NETWORKS | TINY_IR)[name], size, side)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_names(torch: Framework, name: str) -> None:
    """Those that PyTorch gives to the modules that the peers have."""
    with torch.torch.device("meta"):
        expected = {
            key: tuple(value.shape)
            for key, value in plain(name, 512, 112).state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
    graph = backbones.describe(name)
    assert {key: each.shape for key, each in graph.parameters().items()} == expected


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", [*TINY_IR, *SMALLEST])
def test_the_peers_network(
    framework: Framework, torch: Framework, name: str, training: bool
) -> None:
    """Their network with our weights: the same embeddings, gradients and statistics."""
    graph, rng = backbones.describe(name, SIZE, (SIDE, SIDE)), np.random.default_rng(5)
    weights = lively_weights(graph, 1)
    images, upstream = rng.uniform(-1, 1, (4, 3, SIDE, SIDE)), rng.normal(size=(4, SIZE))
    tensor = torch.torch.tensor
    peer = plain(name, SIZE, SIDE).double().train(training)
    peer.load_state_dict({key: tensor(value) for key, value in weights.items()}, strict=False)
    for layer in peer.modules():
        if isinstance(layer, torch.torch.nn.Dropout):
            layer.p = 0.0
    x = tensor(images, requires_grad=True)
    expected = peer(x)
    expected.backward(tensor(upstream))
    gradients = {key: p.grad.numpy() for key, p in peer.named_parameters()}
    wanted = gradients | {"images": x.grad.numpy(), "embeddings": expected.detach().numpy()}

    made = framework.backbone(graph, weights, "float64")
    embeddings, found = framework.differentiate(made, images, upstream, {} if training else None)
    assert_same_arrays(found | {"embeddings": embeddings}, wanted, rtol=1e-8, atol=1e-9)
    statistics = {key: v.numpy() for key, v in peer.state_dict().items() if "running" in key}
    after = framework.backend.backbone_arrays(made)
    assert_same_arrays({key: after[key] for key in statistics}, statistics, rtol=1e-9, atol=1e-12)


def run(framework: Framework, name: str, precision: str = "full") -> tuple[list[float], Any]:
    spec = LearnerSpec(
        ModelSpec(name, SIZE, (SIDE, SIDE)),
        losses.get("arcface", scale=16, margin=0.3),
        CLASSES,
        SGD(),
        seed=0,
        dtype="float64" if precision == "full" else "float32",
        precision=precision,
    )
    made, rng = framework.backend.create_learner(spec), np.random.default_rng(7)
    four = [
        (rng.integers(0, 256, (4, SIDE, SIDE, 3), np.uint8), rng.integers(0, CLASSES, 4))
        for _ in range(4)
    ]
    found = [made.step(*four[step % 4], 1e-4, {}).loss for step in range(STEPS)]
    return found, state_of(made)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "name", [FIRST_IR, pytest.param(SECOND_IR, marks=pytest.mark.slow), *SMALLEST]
)
def test_same_run(torch: Framework, tf: Framework, name: str) -> None:
    (found, state), (expected, other) = (run(framework, name) for framework in (tf, torch))
    assert_same_losses(found, expected, 1e-8)
    assert_same_arrays(state, other, rtol=1e-7, atol=1e-9)
    assert expected[-1] < expected[0] / 2


@pytest.mark.slow
def test_bfloat16(torch: Framework, tf: Framework) -> None:
    """As `test_precision.py` has it of another network, which has no excitations."""
    wanted, _ = run(torch, FIRST_IR)
    for framework in (torch, tf):
        found, state = run(framework, FIRST_IR, "bfloat16")
        assert_same_losses(found, wanted, 0.1)
        assert np.abs(np.divide(found, wanted) - 1).max() > 1e-3  # it was in half precision
        assert {array.dtype for name, array in state.items() if "backbone" in name} == {
            np.dtype(np.float32)
        }


@pytest.mark.parametrize("name", ["ir50", "ir50_evolve", "ir_se50_evolve"])
def test_start(name: str) -> None:
    """He's rule by the outputs; the second family as PyTorch starts a convolution."""
    graph: Graph = backbones.describe(name, SIZE, (SIDE, SIDE))
    weights = backbones.initial_weights(graph, 0)
    first = weights["body.3.res_layer.1.weight"]
    if name == "ir50":
        assert first.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)
        assert np.abs(first).max() > 3 * first.std()
        assert not weights["output_layer.3.bias"].any()
    else:
        bound = 1 / np.sqrt(64 * 9)
        assert 0.99 * bound < np.abs(first).max() <= bound
        assert weights["output_layer.3.bias"].any()
