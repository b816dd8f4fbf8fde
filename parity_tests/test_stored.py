"""Runs and networks of an earlier version: they go on, in either framework, to the same numbers."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command import printed
from comparison import assert_same_arrays, assert_same_losses
from frameworks import Framework
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from marginface import backbones
from marginface.backbones.graph import IMAGES, Graph
from marginface.model import ModelSpec
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint
from marginface.runs.folder import load_run
from marginface.runs.metrics import read_metrics
from marginface.training.config.files import read_config_file, resume_config
from marginface.training.config.keys import TrainConfig
from marginface.training.trainer import train

STORED = Path(__file__).parent / "stored"
NETWORKS = json.loads((STORED / "networks.json").read_text())
VITS = json.loads((STORED / "vits.json").read_text())
COMMANDS = json.loads((STORED / "commands.json").read_text())


def stored(graph: Graph, dropout: float) -> None:
    """The network of the stored runs."""
    x = graph.prelu("prelu", graph.batch_norm("bn", graph.conv("conv", IMAGES, 4, 16, stride=16)))
    x = graph.dropout(graph.flatten(x), dropout)
    x = graph.linear("fc", x, graph.embedding_size, bias=False)
    graph.batch_norm("features", x, trainable_scale=False)


backbones.register_backbone("stored", stored)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images that the stored runs saw."""
    root, rng = tmp_path_factory.mktemp("stored") / "faces", np.random.default_rng(0)
    for identity in range(4):
        folder = root / f"person_{identity}"
        folder.mkdir(parents=True)
        for number in range(1, 7):
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., identity % 3] += 100 - 20 * (identity // 3)
            Image.fromarray(pixels).save(folder / f"person_{identity}_{number:04d}.png")
    return root


@pytest.mark.parametrize("writer", ["torch", "tf"])
def test_a_stored_run_goes_on(
    framework: Framework, writer: str, faces: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(STORED / writer / "run", run)
    recorded = TrainConfig(**read_config_file(run / "config.yaml"))
    given = {"data": faces, "output": run, "backend": framework.name}
    result = train(resume_config(recorded, given), resume=True, console=Console(quiet=True))
    assert result.step == 8

    newest = latest_checkpoint(run / "checkpoints")
    assert newest is not None
    expected = load_file(STORED / writer / "final.safetensors")
    assert_same_arrays(load_checkpoint(newest).state, expected, rtol=1e-5, atol=1e-6)
    losses = [
        [line["loss"] for line in read_metrics(path)]
        for path in (run / "metrics.jsonl", STORED / writer / "final.jsonl")
    ]
    assert_same_losses(*losses, rtol=1e-5)


@pytest.mark.parametrize("writer", ["torch", "tf"])
def test_a_stored_run_is_a_model(framework: Framework, writer: str) -> None:
    """The stored arrays, in whatever framework, are the network that NumPy computes."""
    run = load_run(STORED / writer / "run")
    assert run.step == 4
    images = np.random.default_rng(1).normal(0, 1, (3, 3, 32, 32)).astype(np.float32)
    found = framework.backend.create_embedder(run.spec, run.weights)(images)

    w = {name: array.astype(np.float64) for name, array in run.weights.items()}

    def normalized(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    patches = images.reshape(3, 3, 2, 16, 2, 16)
    x = normalized(np.einsum("ncyixj,ocij->nyxo", patches, w["conv.weight"]), "bn")
    x = np.maximum(x, 0) + w["prelu.weight"] * np.minimum(x, 0)
    x = x.transpose(0, 3, 1, 2).reshape(3, -1) @ w["fc.weight"].T
    np.testing.assert_allclose(found, normalized(x, "features"), rtol=1e-4, atol=1e-5)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Give the values of a JSON file, each under the whole way to it."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(each, f"{name}.{key}")
    else:
        yield name, value


@pytest.fixture(scope="module")
def pairs(faces: Path) -> Path:
    """Two neighbouring images of one person, or of a person and the next, three times each."""
    first = [(person, number) for person in range(4) for number in (1, 3, 5)]
    same = [f"person_{p}\t{n}\t{n + 1}" for p, n in first]
    other = [f"person_{p}\t{n}\tperson_{(p + 1) % 4}\t{n + 1}" for p, n in first]
    path = faces.with_name("pairs.txt")
    path.write_text("\n".join([f"{len(first)}", *same, *other]) + "\n")
    return path


def test_a_stored_run_is_evaluated(
    framework: Framework, faces: Path, pairs: Path, tmp_path: Path
) -> None:
    """In the framework that wrote it: in the other one its embeddings are the same, see below."""
    run, expected = STORED / framework.name / "run", COMMANDS[framework.name]["metrics"]
    given = ("--images", faces, "--pairs", pairs, "--backend", framework.name)
    printed("evaluate", "--model", run, *given, "--output", tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["measured_with"].pop("backend") == framework.name
    del found["measured_with"]["marginface"]
    near = {k: pytest.approx(v, rel=1e-5) if isinstance(v, float) else v for k, v in flat(expected)}
    assert dict(flat(found)) == near


@pytest.mark.parametrize("writer", ["torch", "tf"])
def test_a_stored_run_is_embedded_and_exported(
    framework: Framework, writer: str, faces: Path, tmp_path: Path
) -> None:
    """An exported file is a model, too, which gives what the run gives."""
    run, expected = STORED / writer / "run", COMMANDS[writer]
    chosen, file = ("--backend", framework.name), tmp_path / "exported.onnx"
    printed("export", "--run", run, *chosen, "--output", file)
    for path, options in ((run, chosen), (file, ())):
        out = tmp_path / f"{path.stem}.npz"
        printed("embed", "--model", path, "--images", faces, *options, "--output", out)
        with np.load(out) as found:
            assert [*found["path"]] == expected["paths"]
            wanted = np.array(expected["embeddings"])
            allowed = 1e-5 * np.abs(wanted).max()
            np.testing.assert_allclose(found["embedding"], wanted, rtol=0, atol=allowed)
    model = onnx.load(file)
    assert [node.op_type for node in model.graph.node] == expected["operators"]
    metadata = {each.key: each.value for each in model.metadata_props}
    assert expected["metadata"].items() <= metadata.items()


def digest_of_parameters(graph: Graph) -> str:
    listed = "".join(f"{key} {p.shape} {p.trainable}\n" for key, p in graph.parameters().items())
    return hashlib.sha256(listed.encode()).hexdigest()


def digest_of_arrays(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", NETWORKS)
def test_stored_networks(name: str) -> None:
    """Each network has the parameters, under the names, with the first values that it had."""
    graph = backbones.describe(name, embedding_size=32)
    assert digest_of_parameters(graph) == NETWORKS[name]["parameters"]
    weights = backbones.initial_weights(graph, 0)
    assert digest_of_arrays(weights) == NETWORKS[name]["initial_weights"]


@pytest.mark.parametrize("name", VITS["parameters"])
def test_stored_transformers(name: str) -> None:
    graph = backbones.describe(name, embedding_size=32)
    assert digest_of_parameters(graph) == VITS["parameters"][name]


def test_a_stored_transformer_starts_and_embeds_as_it_did() -> None:
    """On nine tokens, by the reference, to which `test_layers.py` holds the frameworks."""
    graph = backbones.describe("vit_t", 32, (27, 27))
    weights = backbones.initial_weights(graph, 0)
    assert digest_of_arrays(weights) == VITS["initial_weights"]
    image = np.random.default_rng(0).random((1, 3, 27, 27), np.float32) * 2 - 1
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    found = graph.forward(wide, image.astype(np.float64))[0, :8]
    np.testing.assert_allclose(found, VITS["embedding"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["iresnet18", "mbf", "mobilefacenet"])
def test_stored_embeddings(framework: Framework, name: str) -> None:
    weights = backbones.initial_weights(backbones.describe(name, embedding_size=32), 0)
    image = np.random.default_rng(0).random((1, 3, 112, 112), np.float32) * 2 - 1
    found = framework.backend.create_embedder(ModelSpec(name, 32), weights)(image)[0, :8]
    expected = np.array(NETWORKS[name]["embedding"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
