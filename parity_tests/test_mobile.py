"""EdgeFace and GhostFaceNet: the peers' own networks, and one run in both frameworks."""

from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_losses, state_of
from frameworks import Framework, lively_weights
from layer_cases import TINY_EDGEFACE, TINY_GHOST

from marginface import backbones, losses
from marginface.backbones.edgeface import NETWORKS
from marginface.backbones.ghostfacenet import BOTTLENECKS
from marginface.backbones.layers import Layout
from marginface.learner import LearnerSpec
from marginface.model import ModelSpec
from marginface.optimizers import SGD

STEPS, SIDE, SIZE, CLASSES = 8, 32, 16, 6
TINY = [TINY_EDGEFACE, TINY_GHOST]
SMALLEST = ["edgeface_xxs", "ghostfacenet_v1"]
BOTH = [*TINY, *(pytest.param(name, marks=pytest.mark.slow) for name in SMALLEST)]
# The first values of an embedding by timm's EdgeNeXt (1.0.31, float64), of `given` below.
FROM_TIMM = [-0.8445733, -1.9410976, -0.7117173, -1.9407686]


def given(name: str, dtype: str = "float64") -> tuple[Any, ...]:
    """Return a graph, its weights, images, and what comes from above."""
    graph, rng = backbones.describe(name, SIZE, (SIDE, SIDE)), np.random.default_rng(5)
    images, upstream = rng.uniform(-1, 1, (4, 3, SIDE, SIDE)), rng.normal(size=(4, SIZE))
    return graph, lively_weights(graph, 1), images.astype(dtype), upstream.astype(dtype)


def edgenext(name: str, size: int) -> Any:
    """Return timm's network."""
    timm = pytest.importorskip("timm", reason="timm is not installed, nor in requirements.lock")
    from plain_edgeface import with_low_rank

    network = NETWORKS[name]
    made = timm.models.edgenext.EdgeNeXt(
        num_classes=size,
        dims=network.widths,
        depths=network.depths,
        heads=(network.heads,) * 4,
    )
    return made if network.rank == 1 else with_low_rank(made, network.rank)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_of_timm(torch: Framework, name: str) -> None:
    with torch.torch.device("meta"):
        state = edgenext(name, 512).state_dict()
    found = {key: each.shape for key, each in backbones.describe(name).parameters().items()}
    assert found == {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("name", ["edgeface_xxs", "edgeface_xs_gamma_06"])
def test_the_network_of_timm(framework: Framework, torch: Framework, name: str) -> None:
    graph, weights, images, upstream = given(name)
    peer, tensor = edgenext(name, SIZE).double(), torch.torch.tensor
    peer.load_state_dict({key: tensor(value) for key, value in weights.items()})
    x = tensor(images, requires_grad=True)
    expected = peer(x)
    expected.backward(tensor(upstream))
    wanted = {key: p.grad.numpy() for key, p in peer.named_parameters()}
    wanted |= {"images": x.grad.numpy(), "embeddings": expected.detach().numpy()}
    made = framework.backbone(graph, weights, "float64")
    embeddings, found = framework.differentiate(made, images, upstream, {})
    # timm's waves are of float32 whatever the rest is.
    assert_same_arrays(found | {"embeddings": embeddings}, wanted, rtol=1e-5, atol=1e-6)


def test_what_timm_gave(framework: Framework) -> None:
    graph, weights, images, _ = given("edgeface_xxs")
    made = framework.backbone(graph, weights, "float64")
    found = framework.embed(made, images, training=False)
    np.testing.assert_allclose(found[0, : len(FROM_TIMM)], FROM_TIMM, atol=2e-7)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", [TINY_GHOST, *BOTH[3:]])
def test_the_network_in_keras(
    framework: Framework, tf: Framework, name: str, training: bool
) -> None:
    """Embeddings, gradients and statistics; Keras' unbiased variance is not PyTorch's."""
    from plain_ghostfacenet import PlainGhostFaceNet

    bottlenecks = BOTTLENECKS
    if name == TINY_GHOST:
        bottlenecks = tuple(bottlenecks[i] for i in (0, 3, 4))
    graph, weights, images, upstream = given(name)
    plain, layouts = PlainGhostFaceNet(bottlenecks, 2, SIZE, SIDE, "float64"), {}
    variables = plain.variables()
    assert set(variables) == set(weights)
    for key, variable in variables.items():
        layouts[key] = backbones.layouts(graph, "tf")[key]
        variable.assign(layouts[key].to_framework(weights[key]).reshape(variable.shape))

    def canonical(key: str, array: Any) -> Any:
        layout: Layout = layouts[key]
        return layout.to_canonical(np.asarray(array).reshape(layout.shape))

    code, names = tf.tf, {id(v): key for key, v in variables.items() if v.trainable}
    x = code.constant(images.transpose(0, 2, 3, 1))
    with code.GradientTape() as tape:
        tape.watch(x)
        expected = plain.model(x, training=training)
    trained = {names[id(v)]: v.value for v in plain.model.trainable_variables}
    gradients = tape.gradient(expected, trained | {"images": x}, code.constant(upstream))
    wanted = {"embeddings": expected.numpy()}
    wanted["images"] = gradients.pop("images").numpy().transpose(0, 3, 1, 2)
    wanted |= {key: canonical(key, gradient) for key, gradient in gradients.items()}
    made = framework.backbone(graph, weights, "float64")
    embeddings, found = framework.differentiate(made, images, upstream, {} if training else None)
    assert_same_arrays(found | {"embeddings": embeddings}, wanted, rtol=1e-7, atol=1e-8)
    means = [key for key in variables if key.endswith("running_mean")]
    after = framework.backend.backbone_arrays(made)
    assert_same_arrays(
        {key: after[key] for key in means},
        {key: canonical(key, variables[key]) for key in means},
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", BOTH)
def test_same_gradients(torch: Framework, tf: Framework, name: str) -> None:
    """And the same statistics after a batch."""
    graph, weights, images, upstream = given(name)
    found = []
    for framework in (torch, tf):
        made = framework.backbone(graph, weights, "float64")
        embeddings, gradients = framework.differentiate(made, images, upstream, {})
        arrays = framework.backend.backbone_arrays(made)
        statistics = {key: array for key, array in arrays.items() if "running" in key}
        found.append(gradients | statistics | {"embeddings": embeddings})
    assert_same_arrays(*found, rtol=1e-7, atol=1e-8)


def learner(framework: Framework, name: str, precision: str = "full") -> Any:
    """Return a learner that starts where every block adds something."""
    model = ModelSpec(name, SIZE, (SIDE, SIDE))
    spec = LearnerSpec(
        model,
        losses.get("arcface", scale=16, margin=0.3),
        CLASSES,
        SGD(),
        seed=0,
        dtype="float64" if precision == "full" else "float32",
        precision=precision,
    )
    made = framework.backend.create_learner(spec)
    weights = lively_weights(model.graph(), 1)
    made.load_arrays(state_of(made) | {f"backbone.{key}": value for key, value in weights.items()})
    return made


def run(made: Any, first: int, count: int) -> list[float]:
    """Take steps on four batches again and again."""
    rng = np.random.default_rng(7)
    four = [
        (rng.integers(0, 256, (4, SIDE, SIDE, 3), np.uint8), rng.integers(0, CLASSES, 4))
        for _ in range(4)
    ]
    return [made.step(*four[step % 4], 1e-4, {}).loss for step in range(first, first + count)]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", BOTH)
def test_same_run(torch: Framework, tf: Framework, name: str) -> None:
    """In each; and handed over at the end, in either direction."""
    made = [learner(framework, name) for framework in (torch, tf)]
    found = [run(each, 0, STEPS) for each in made]
    assert_same_losses(*found, 1e-8)
    assert found[0][-1] < 0.9 * found[0][0]
    states = [state_of(each) for each in made]
    assert_same_arrays(*states, rtol=1e-6, atol=1e-9)
    for each, state in zip(made, reversed(states), strict=True):
        each.load_arrays(state)
    assert_same_losses(*(run(each, STEPS, 2) for each in made), 1e-8)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", BOTH)
def test_bfloat16(torch: Framework, framework: Framework, name: str) -> None:
    wanted = run(learner(torch, name), 0, 2)
    found = run(learner(framework, name, "bfloat16"), 0, 2)
    assert_same_losses(found, wanted, 0.1)
    assert np.abs(np.divide(found, wanted) - 1).max() > 1e-4  # it was in half precision


def test_start() -> None:
    """As timm's: normal, cut off at two deviations, no bias; a block adds almost nothing."""
    weights = backbones.initial_weights(backbones.describe("edgeface_base", SIZE), 0)
    fc1 = weights["stages.3.blocks.0.mlp.fc1.weight"]
    assert np.abs(fc1).max() == pytest.approx(0.04, rel=1e-3)
    assert fc1.std() == pytest.approx(0.02 * 0.8796, rel=1e-2)
    assert not weights["stages.0.blocks.0.conv_dw.bias"].any()
    assert (weights["stages.0.blocks.0.gamma"] == np.float32(1e-6)).all()
    assert weights["head.fc.bias"].any()  # PyTorch's start
    weights = backbones.initial_weights(backbones.describe("ghostfacenet_v1", SIZE), 0)
    last = weights["last.conv.weight"]
    assert last.std() == pytest.approx(np.sqrt(2 / len(last)), rel=1e-2)
    assert np.abs(last).max() <= 2 * np.sqrt(2 / len(last)) / 0.8796
