"""Each kind of layer against its NumPy reference: values, gradients, statistics, ONNX."""

from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays
from frameworks import Framework, lively_weights
from layer_cases import CASES, SIDES, TINY_EDGEFACE, TINY_GHOST, TINY_VIT, case

from marginface import MarginfaceError, backbones
from marginface.backbones import Graph, layers
from marginface.model import ModelSpec
from marginface.onnx.layers import LAYERS
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import OPSETS, build_onnx

BATCH = 5
RTOL = {"float64": 1e-10, "float32": 2e-5}


def given(graph: Graph, dtype: str, *, training: bool) -> tuple[Any, ...]:
    """Return weights, images, what comes from above, and what is drawn."""
    rng = np.random.default_rng(3)
    weights = {k: v.astype(dtype) for k, v in lively_weights(graph, 1).items()}
    images = rng.normal(0, 3, (BATCH, 3, *SIDES)).astype(dtype)
    upstream = rng.normal(size=(BATCH, graph.embedding_size)).astype(dtype)
    return weights, images, upstream, graph.draw(rng, BATCH) if training else None


def slope(graph: Graph, arrays: Any, upstream: Any, draw: Any, name: str, along: Any) -> float:
    """Return how fast sum(upstream * embeddings) changes along a direction: by a complex step."""
    step = 1e-30
    moved = arrays | {name: arrays[name] + 1j * step * along}
    images = moved.pop("images")
    found = graph.forward(moved, images, training=draw is not None, draw=draw)
    return float((upstream * found).sum().imag / step)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dtype", list(RTOL))
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(framework: Framework, name: str, dtype: str, training: bool) -> None:
    graph = case(name)
    weights, images, upstream, draw = given(graph, dtype, training=training)
    made = framework.backbone(graph, weights, dtype)
    found, gradients = framework.differentiate(made, images, upstream, draw)

    wide = {k: v.astype(np.float64) for k, v in (weights | {"images": images}).items()}
    expected = graph.forward(wide, wide["images"], training=training, draw=draw)
    rtol = RTOL[dtype]
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())

    parameters = graph.parameters()
    resting = set() if training else {k for k in parameters if k == "mask_token"}
    trained = {name for name, parameter in parameters.items() if parameter.trainable} - resting
    assert set(gradients) == {"images", *trained}
    rng = np.random.default_rng(4)
    for key, gradient in gradients.items():
        assert gradient.shape == wide[key].shape
        along = rng.normal(size=gradient.shape)
        wanted = slope(graph, wide, upstream.astype(np.float64), draw, key, along)
        # The floor is for a bias before a BatchNorm, whose gradient is 0.
        size = np.linalg.norm(gradient) + 0.01 * np.linalg.norm(upstream)
        assert abs((gradient * along).sum() - wanted) < 10 * rtol * size * np.linalg.norm(along)


def test_every_kind_has_a_case_and_stands_in_every_table(torch: Framework, tf: Framework) -> None:
    seen = {type(node.layer) for name in CASES for node in case(name).nodes}
    assert seen == set(layers.KINDS)
    for table in (torch.module("backbones.layers").LAYERS, tf.module("backbones.layers").LAYERS):
        assert set(table) == seen
    assert set(LAYERS) == seen


@pytest.mark.parametrize("dtype", list(RTOL))
def test_statistics_move(framework: Framework, dtype: str) -> None:
    graph = case("batch_norm")
    weights, images, upstream, draw = given(graph, dtype, training=True)
    made = framework.backbone(graph, weights, dtype)
    framework.differentiate(made, images, upstream, draw)
    after = framework.backend.backbone_arrays(made)
    layer = graph.nodes[0].layer
    assert isinstance(layer, layers.BatchNorm)
    own = {part: weights[f"images.{part}"].astype(np.float64) for part in layer.parameters()}
    expected = layer.moved(layers.Call(own), images.astype(np.float64))
    found = {part: after[f"images.{part}"] for part in expected}
    assert_same_arrays(found, expected, RTOL[dtype])


@pytest.mark.parametrize("name", [*CASES, TINY_VIT, TINY_EDGEFACE, TINY_GHOST])
def test_onnx_at_every_opset(name: str) -> None:
    graph = case(name) if name in CASES else backbones.describe(name, 8, (33, 36))
    weights = lively_weights(graph, 1)
    rng = np.random.default_rng(3)
    images = rng.normal(0, 3, (3, 3, *graph.input_size)).astype(np.float32)
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    expected = graph.forward(wide, images.astype(np.float64))
    for opset in OPSETS:
        model = build_onnx(ModelSpec.of(graph), weights, opset=opset)
        found = OnnxSession(model.SerializeToString())(images)
        allowed = 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed, err_msg=f"{opset}")
        if name == "attention":  # as the operator, where there is one
            operators = {node.op_type for node in model.graph.node}
            assert ("Attention" in operators, "Softmax" in operators) == (opset > 22, opset < 23)


def test_prelu_has_a_second_derivative(torch: Framework) -> None:
    made, code = torch.module("backbones.layers").prelu(layers.PReLU("prelu", 3)), torch.torch
    x, upstream = (code.randn(4, 3, 2, 2, dtype=code.float64, requires_grad=True) for _ in range(2))
    assert code.autograd.gradgradcheck(made.double().train(), [x], [upstream])


def test_noise_is_drawn_where_none_is_given(framework: Framework) -> None:
    graph = backbones.describe(TINY_VIT, 8, (31, 30), dropout=0.5)
    made = framework.backbone(graph, lively_weights(graph, 1))
    images = np.random.default_rng(3).normal(size=(3, 3, 31, 30)).astype(np.float32)
    noisy = [framework.embed(made, images, training=True) for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 0.1
    quiet = [framework.embed(made, images, training=False) for _ in range(2)]
    np.testing.assert_array_equal(*quiet)


def test_draws_that_do_not_fit(framework: Framework) -> None:
    graph = case("masking")
    weights, images, upstream, draw = given(graph, "float32", training=True)
    made = framework.backbone(graph, weights)
    tensor = framework.torch.tensor if framework.name == "torch" else framework.tf.constant
    wrong = {"none": {}, "another": {"other": draw["mask"]}, "batch": {"mask": draw["mask"][:1]}}
    for each in wrong.values():
        with pytest.raises(
            MarginfaceError, match=r"takes draw of shapes .*graph\.draw\(rng, batch"
        ):
            framework.differentiate(made, images, upstream, each)
    options = {} if framework.name == "torch" else {"training": False}
    if framework.name == "torch":
        made.eval()
    with pytest.raises(MarginfaceError, match="got draw outside training"):
        made(tensor(images), {"mask": tensor(draw["mask"])}, **options)
