"""The BatchNorm epsilon of weights reaches both frameworks and ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
from frameworks import Framework, lively_weights

from marginface.backbones import describe, read_weights
from marginface.backbones.naming import find_naming, write_state_dict
from marginface.model import ModelSpec
from marginface.onnx.export import export_model
from marginface.onnx.session import OnnxSession
from marginface.onnx.training import read_exported

SPEC = ModelSpec("mobilefacenet", 8, (32, 32), batch_norm_epsilon=0.5)
WEIGHTS = lively_weights(SPEC.graph(), 0)
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)


def reference(spec: ModelSpec) -> Any:
    exact = {name: np.asarray(array, np.float64) for name, array in WEIGHTS.items()}
    return spec.graph().forward(exact, IMAGES.astype(np.float64))


def test_an_epsilon_is_that_of_every_framework(framework: Framework, tmp_path: Path) -> None:
    expected = reference(SPEC)
    assert np.abs(expected - reference(ModelSpec("mobilefacenet", 8, (32, 32)))).max() > 0.01
    embed = framework.backend.create_embedder(SPEC, WEIGHTS)
    np.testing.assert_allclose(embed(IMAGES), expected, atol=1e-5)
    network = framework.backend.create_backbone(
        "mobilefacenet", 8, input_size=(32, 32), batch_norm_epsilon=0.5
    )
    assert network.graph.batch_norm_epsilon == 0.5
    path = export_model(SPEC, WEIGHTS, tmp_path / "m.onnx", reference=embed)
    np.testing.assert_allclose(OnnxSession(path)(IMAGES), expected, atol=1e-5)
    exported = read_exported(path)
    assert exported.spec == SPEC
    name = "conv1.bn.running_var"
    np.testing.assert_allclose(exported.weights[name], WEIGHTS[name], rtol=1e-5)


def test_weights_of_another_epsilon_are_moved(framework: Framework, tmp_path: Path) -> None:
    graph = describe("iresnet18", 8, (32, 32))
    weights = lively_weights(graph, 0)
    write_state_dict(tmp_path / "w.pt", graph, weights, find_naming("magface"))
    network = framework.backend.create_backbone("iresnet18", 8, input_size=(32, 32))
    framework.backend.load_weights(network, tmp_path / "w.pt")
    name = "bn1.running_var"
    stored = read_weights(tmp_path / "w.pt")[f"features.module.{name}"]
    loaded = framework.backend.backbone_arrays(network)[name]
    np.testing.assert_allclose(loaded - stored, 1e-5, atol=2e-7)
    np.testing.assert_allclose(loaded, weights[name], atol=2e-7)
