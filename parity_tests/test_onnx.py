"""Both frameworks export one graph, which agrees with both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from comparison import assert_same_embeddings, assert_same_onnx
from frameworks import Framework, lively_weights
from layer_cases import FIRST_IR

from marginface import MarginfaceError, backbones
from marginface.onnx.writer import build_onnx

CASES = [
    ("mobilefacenet", (32, 32)),
    ("mbf", (32, 48)),
    ("iresnet18", (32, 32)),
    (FIRST_IR, (32, 32)),
]


def export(
    framework: Framework, graph: backbones.Graph, weights: Any, path: Path, **options: Any
) -> onnx.ModelProto:
    backbone = framework.backbone(graph, weights)
    framework.backend.export_onnx(backbone, path, **options)
    return onnx.load(path)


@pytest.mark.parametrize(("name", "size"), CASES)
@pytest.mark.parametrize("options", [{}, {"normalize": True, "preprocess": True}], ids=str)
def test_one_graph(
    torch: Framework,
    tf: Framework,
    name: str,
    size: tuple[int, int],
    options: dict[str, bool],
    tmp_path: Path,
) -> None:
    graph = backbones.describe(name, 16, size)
    weights = lively_weights(graph, 0)
    models = [
        export(framework, graph, weights, tmp_path / f"{framework.name}.onnx", **options)
        for framework in (torch, tf)
    ]
    assert_same_onnx(*models)
    sources = [{p.key: p.value for p in model.metadata_props}["source"] for model in models]
    assert [source.split()[0] for source in sources] == ["torch", "tensorflow"]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_agrees_with_the_framework(
    framework: Framework, name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    graph = backbones.describe(name, 16, size)
    weights = lively_weights(graph, 0)
    model = export(framework, graph, weights, tmp_path / "model.onnx")
    operators = {node.op_type for node in model.graph.node}
    assert "PRelu" in operators
    assert not operators & {"BatchNormalization", "Cast", "Transpose", "Identity"}
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {"images": images})[0]
    expected = framework.embed(framework.backbone(graph, weights), images, training=False)
    assert_same_embeddings(found, expected, 1e-4)
    mean = next(name for name in weights if name.endswith("running_mean"))
    changed = framework.backbone(graph, weights | {mean: weights[mean] + 0.1})
    other = framework.embed(changed, images, training=False)
    with pytest.raises(AssertionError):
        assert_same_embeddings(found, other, 1e-4)


def test_one_other_weight_is_caught(framework: Framework, tmp_path: Path) -> None:
    graph = backbones.describe("mobilefacenet", 16, (32, 32))
    weights = lively_weights(graph, 0)
    first = export(framework, graph, weights, tmp_path / "first.onnx")
    weights["conv1.prelu.weight"] = weights["conv1.prelu.weight"] * np.float32(1.000001)
    second = export(framework, graph, weights, tmp_path / "second.onnx")
    with pytest.raises(AssertionError):
        assert_same_onnx(first, second)


def changed(prefix: str, change: Callable[[Any], Any]) -> Callable[[onnx.ModelProto], None]:
    """Return a mutation of the constants of a graph whose names start with `prefix`."""

    def mutate(model: onnx.ModelProto) -> None:
        for constant in model.graph.initializer:
            if constant.name.startswith(prefix):
                values = np.ascontiguousarray(change(onnx.numpy_helper.to_array(constant)))
                constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))

    return mutate


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


BARE = {"preprocess": False, "normalize": False}
WHOLE = {"preprocess": True, "normalize": True}
MUTANTS = {  # asked for, built instead, what is changed in it, the error
    "length 1": (BARE, {"normalize": True}, None, "differ"),
    "takes pixels": (BARE, {"preprocess": True}, None, "fails on an input of shape"),
    "length": (BARE, {}, changed("linear1", lambda weight: weight * 1.01), "differ"),
    "any length": (WHOLE, {"normalize": False}, None, "differ"),
    "takes no pixels": (WHOLE, {"preprocess": False}, None, "fails on an input of shape"),
    "mean": (WHOLE, {}, changed("mean", lambda mean: mean + 0.5), "differ"),
    "std": (WHOLE, {}, changed("inverse_std", lambda factor: factor * 127.5 / 128), "differ"),
    "channels": (WHOLE, {}, changed("conv1.conv.weight", lambda w: w[:, ::-1]), "differ"),
    "weight": (WHOLE, {}, changed("conv1.prelu.weight", lambda slope: slope * 1.01), "differ"),
    "batch": (WHOLE, {}, fix_batch, "batches of 3 only, expected any"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_graph_is_not_written(
    framework: Framework, mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, instead, change, words = MUTANTS[mutant]

    def build(*arguments: Any, **named: Any) -> onnx.ModelProto:
        model = build_onnx(*arguments, **(named | instead))
        if change is not None:
            change(model)
        return model

    monkeypatch.setattr("marginface.onnx.export.build_onnx", build)
    graph = backbones.describe("mobilefacenet", 16, (32, 32))
    with pytest.raises(MarginfaceError, match=words) as error:
        export(framework, graph, lively_weights(graph, 0), tmp_path / "model.onnx", **options)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_broken_weights_are_not_written(framework: Framework, value: float, tmp_path: Path) -> None:
    graph = backbones.describe("mobilefacenet", 16, (32, 32))
    weights = lively_weights(graph, 0)
    for part in ("weight", "bias"):
        weights[f"linear1.bn.{part}"][:] = value
    with pytest.raises(MarginfaceError, match="length zero, NaN or infinite"):
        export(framework, graph, weights, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
