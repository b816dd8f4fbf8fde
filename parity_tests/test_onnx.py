"""Both frameworks export one graph, which agrees with both."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from comparison import assert_same_embeddings, assert_same_onnx
from frameworks import Framework, lively_weights

from marginface import backbones

CASES = [("mobilefacenet", (32, 32)), ("mbf", (32, 48)), ("iresnet18", (32, 32))]


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


def test_nothing_is_written_when_they_disagree(framework: Framework, tmp_path: Path) -> None:
    from marginface.errors import MarginfaceError

    graph = backbones.describe("mobilefacenet", 16, (32, 32))
    weights = lively_weights(graph, 0)
    weights["conv1.prelu.weight"][0] = np.nan
    with pytest.raises(MarginfaceError, match="differ"):
        export(framework, graph, weights, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
