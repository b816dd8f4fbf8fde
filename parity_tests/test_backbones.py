"""The same weights give the same embeddings and statistics in both frameworks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparison import assert_same_arrays, assert_same_embeddings
from frameworks import Framework, lively_weights
from networks import NETWORKS

from marginface import backbones
from marginface.backbones import Graph, Layout, layers
from marginface.backbones.ir import NETWORKS as IR
from marginface.backbones.vit import SIZES

ATOL = {"float32": 1e-4, "float64": 1e-9}
SMALL = [("mobilefacenet", (48, 32)), ("mbf", (48, 48)), ("iresnet18", (32, 48))]
WHOLE = [(name, (112, 112)) for name in NETWORKS if name not in {*SIZES, *IR}]  # test_vit, test_ir
CASES = [
    *SMALL,
    *(pytest.param(name, size, marks=pytest.mark.slow) for name, size in WHOLE),
]


def others() -> Iterator[Any]:
    """Give the networks that are not in SMALL; the large ones as slow."""
    for name in NETWORKS:
        graph = backbones.describe(name, 24, (32, 48))
        size = sum(np.prod(parameter.shape) for parameter in graph.parameters().values())
        large = len(graph.nodes) > 200 or size > 12e6
        if name not in dict(SMALL):
            yield pytest.param(name, marks=pytest.mark.slow if large else ())


def images_for(graph: Graph, batch: int, dtype: str) -> Any:
    rng = np.random.default_rng(5)
    return rng.uniform(-1, 1, (batch, 3, *graph.input_size)).astype(dtype)


def check(
    frameworks: tuple[Framework, Framework], graph: Graph, dtype: str, *, training: bool
) -> None:
    """Compare embeddings and, after training mode, every array of two frameworks."""
    weights, images = lively_weights(graph, 1), images_for(graph, 4, dtype)
    draw = graph.draw(np.random.default_rng(6), 4) if training else None
    embeddings, arrays = [], []
    for framework in frameworks:
        backbone = framework.backbone(graph, weights, dtype)
        embeddings.append(framework.embed(backbone, images, draw, training=training))
        arrays.append(framework.backend.backbone_arrays(backbone))
    assert_same_embeddings(*embeddings, ATOL[dtype])
    assert_same_arrays(*arrays, ATOL[dtype])
    moved = [name for name in weights if not np.array_equal(arrays[0][name], weights[name])]
    statistics = [name for name in weights if "running" in name]
    assert moved == (statistics if training else [])


@pytest.mark.parametrize(("name", "size"), CASES)
@pytest.mark.parametrize("dtype", list(ATOL))
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_same_embeddings(
    torch: Framework, tf: Framework, name: str, size: tuple[int, int], dtype: str, training: bool
) -> None:
    check((torch, tf), backbones.describe(name, 24, size), dtype, training=training)


@pytest.mark.parametrize("name", list(others()))
def test_same_embeddings_of_every_network(torch: Framework, tf: Framework, name: str) -> None:
    check((torch, tf), backbones.describe(name, 24, (32, 48)), "float32", training=True)


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "as trained"])
@pytest.mark.parametrize(("name", "size"), SMALL)
def test_create_embedder_runs_the_backbone(
    framework: Framework, name: str, size: tuple[int, int], folded: bool
) -> None:
    from marginface.model import ModelSpec

    graph = backbones.describe(name, 24, size)
    weights, images = lively_weights(graph, 1), images_for(graph, 3, "float32")
    spec = ModelSpec(name, 24, size)
    embed = framework.backend.create_embedder(spec, weights, folded=folded)
    backbone = framework.backbone(graph, weights)
    expected = framework.embed(backbone, images, training=False)
    for batch in (1, 3):
        found = embed(images[:batch])
        np.testing.assert_allclose(found, expected[:batch], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mbf", "iresnet18"])
def test_seeded_backbones_start_alike(torch: Framework, tf: Framework, name: str) -> None:
    def arrays(framework: Framework, seed: int) -> dict[str, Any]:
        made = framework.backend.create_backbone(name, 16, input_size=(32, 32), seed=seed)
        return framework.backend.backbone_arrays(made)

    assert_same_arrays(arrays(torch, 3), arrays(tf, 3), rtol=0)
    with pytest.raises(AssertionError):
        assert_same_arrays(arrays(torch, 3), arrays(tf, 4), rtol=0)


def biased(normalize: Any) -> Any:
    """Return a batch normalisation that puts the biased variance into the running one."""

    def wrong(layer: Any, x: Any, *arrays: Any, **options: Any) -> Any:
        y, mean, variance = normalize(layer, x, *arrays, **options)
        count = np.prod(x.shape[:-1])
        kept = 0.9 * arrays[3]
        return y, mean, kept + (variance - kept) * (count - 1) / count

    return wrong


def test_biased_variance_is_caught(
    torch: Framework, tf: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tf.module("backbones.batch_norm")
    monkeypatch.setattr(module, "normalize", biased(module.normalize))
    with pytest.raises(AssertionError, match="running_var"):
        check(
            (torch, tf), backbones.describe("mobilefacenet", 24, (32, 32)), "float32", training=True
        )


def test_swapped_momentum_is_caught(
    torch: Framework, tf: Framework, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tf.module("backbones.layers").LAYERS
    right = table[layers.BatchNorm]

    def wrong(layer: layers.BatchNorm, call: Any, x: Any) -> Any:
        return right(replace(layer, momentum=1 - layer.momentum), call, x)

    monkeypatch.setitem(table, layers.BatchNorm, wrong)
    with pytest.raises(AssertionError, match="running_mean"):
        check(
            (torch, tf), backbones.describe("mobilefacenet", 24, (32, 32)), "float32", training=True
        )


@pytest.mark.parametrize("what", ["reshaped only", "flattened channels first"])
def test_wrong_layout_is_caught(
    torch: Framework, tf: Framework, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Layout.to_framework

    def wrong(layout: Layout, array: Any) -> Any:
        if what == "reshaped only":
            return array.reshape(layout.shape)
        linear = len(layout.canonical) == 2
        return np.ascontiguousarray(array.T) if linear else right(layout, array)

    monkeypatch.setattr(Layout, "to_framework", wrong)
    with pytest.raises(AssertionError):
        check((torch, tf), backbones.describe("iresnet18", 24, (32, 32)), "float32", training=False)


@pytest.mark.parametrize("change", ["other stride's padding", "slope one for all"])
def test_wrong_layers_are_caught(
    torch: Framework, tf: Framework, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, code = tf.module("backbones.layers").LAYERS, tf.tf
    if change == "slope one for all":

        def wrong(_: Any, call: Any, x: Any) -> Any:
            slope = call.value("weight")[0]
            return code.maximum(x, 0) + slope * code.minimum(x, 0)

        monkeypatch.setitem(table, layers.PReLU, wrong)
    else:

        def same(layer: Any, call: Any, x: Any) -> Any:
            run = code.nn.depthwise_conv2d if layer.depthwise else code.nn.conv2d
            padding = "SAME" if layer.padding else "VALID"
            strides = [1, layer.stride, layer.stride, 1]
            return run(x, call.value("weight"), strides, padding)

        monkeypatch.setitem(table, layers.Conv, same)
    with pytest.raises(AssertionError):
        check(
            (torch, tf),
            backbones.describe("mobilefacenet", 24, (32, 32)),
            "float32",
            training=False,
        )
