"""The whole job through the command line, in each framework that is installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet
import pytest

from marginface import backbones
from marginface.backbones.graph import IMAGES, Graph
from marginface.runs.checkpoints import latest_checkpoint, load_checkpoint

MODULES = {"torch": "torch", "tf": "tensorflow"}


def tiny(graph: Graph, dropout: float) -> None:
    """Append a few layers: TensorFlow takes long to trace a real network in every run."""
    x = graph.batch_norm("bn", graph.conv("conv", IMAGES, 8, 8, stride=8))
    x = graph.dropout(graph.flatten(graph.prelu("prelu", x)), dropout)
    graph.batch_norm("features", graph.linear("fc", x, 16, bias=True), trainable_scale=False)


backbones.register_backbone("end_to_end_tiny", tiny)
REAL, TINY = "mobilefacenet", "end_to_end_tiny"


@pytest.fixture(params=list(MODULES))
def backend(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(MODULES[request.param]) is None:
        pytest.skip(f"backend {request.param} is not installed")
    return str(request.param)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten pairs of the same colour and ten of different ones."""
    same = [f"person_{i % 3}\t{i % 7 + 1}\t{i % 7 + 2}" for i in range(10)]
    different = [
        f"person_{i % 3}\t{i % 8 + 1}\tperson_{(i + 1) % 3}\t{i % 8 + 1}" for i in range(10)
    ]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(["10", *same, *different]) + "\n")
    return path


def train(
    backend: str, faces: Path, output: Path, *more: object, backbone: str = REAL
) -> list[object]:
    """Return the arguments of a training run."""
    return [
        *("train", "--backend", backend, "--data", faces, "--output", output),
        *("--backbone", backbone, "--embedding-size", 16, "--input-size", "112x112"),
        *("--loss", "arcface", "--scale", 8, "--margin", 0.1, "--batch-size", 6, "--lr", 0.01),
        *("--threads", 1, "--loader-threads", 1, "--log-every", 1, *more),
    ]


def test_train_evaluate_embed_export(printed, backend, tiny_faces, pairs, tmp_path):
    faces, run_folder = tiny_faces, tmp_path / "run"
    verification = ("--val-images", faces, "--val-pairs", pairs)
    network = {"torch": REAL, "tf": TINY}[backend]
    options = ("--max-steps", 3, *verification)
    printed(*train(backend, faces, run_folder, *options, backbone=network))
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
    assert any(line["kind"] == "verification" for line in lines)

    found = {}
    for engine in ("onnx", backend):
        report = tmp_path / f"report-{engine}"
        arguments = ("--model", run_folder, "--images", faces, "--pairs", pairs)
        printed("evaluate", *arguments, "--output", report, "--backend", engine)
        found[engine] = json.loads((report / "metrics.json").read_text())
        assert (report / "verification.png").stat().st_size > 10_000
    assert found["onnx"]["auc"] == pytest.approx(found[backend]["auc"], abs=0.02)

    model = tmp_path / "model.onnx"
    printed("export", "--run", run_folder, "--output", model)
    graph = onnx.load(model)
    operators = {node.op_type for node in graph.graph.node}
    assert "PRelu" in operators
    assert operators.isdisjoint({"BatchNormalization", "Cast", "Relu"})
    properties = {entry.key: entry.value for entry in graph.metadata_props}
    assert properties["loss"] == "arcface"
    assert properties["source"].startswith(("torch", "tensorflow"))

    tables = []
    for name, source in (("run", run_folder), ("onnx", model)):
        output = tmp_path / f"{name}.parquet"
        printed("embed", "--model", source, "--images", faces, "--output", output)
        tables.append(pyarrow.parquet.read_table(output))
    first, second = (np.stack(table["embedding"].to_numpy()) for table in tables)
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert tables[0]["identity"].to_pylist()[0] == "person_0"


@pytest.mark.parametrize(
    ("backbone", "dropout"), [(TINY, 0.4), pytest.param(REAL, 0.4, marks=pytest.mark.slow)]
)
def test_resume_equals_an_uninterrupted_run(
    printed, backend, tiny_faces, tmp_path, backbone, dropout
):
    run, options = tmp_path / "run", ("--max-steps", 4, "--dropout", dropout)
    more = ("--checkpoint-every", 2)
    printed(*train(backend, tiny_faces, run, *options, *more, backbone=backbone))
    newest = latest_checkpoint(run / "checkpoints")
    whole = newest.rename(tmp_path / "whole")  # as if it had been killed after step 2
    printed("train", "--output", run, "--resume")
    assert_same_end(latest_checkpoint(run / "checkpoints"), whole)


def test_a_checkpoint_on_the_way_changes_nothing(printed, backend, tiny_faces, tmp_path):
    for name, more in (("without", ()), ("with", ("--checkpoint-every", 2))):
        options = ("--max-steps", 4, *more)
        printed(*train(backend, tiny_faces, tmp_path / name, *options, backbone=TINY))
    runs = [tmp_path / name / "checkpoints" for name in ("with", "without")]
    assert_same_end(*map(latest_checkpoint, runs))


def assert_same_end(path: Path, expected: Path) -> None:
    ends = [load_checkpoint(each) for each in (expected, path)]
    assert ends[0].step == ends[1].step == 4
    assert ends[0].state.keys() == ends[1].state.keys()
    for name, value in ends[0].state.items():
        np.testing.assert_array_equal(ends[1].state[name], value, err_msg=name)


@pytest.mark.parametrize("first", list(MODULES))
def test_the_other_framework_continues(printed, first, tiny_faces, tmp_path):
    for module in MODULES.values():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    second = {"torch": "tf", "tf": "torch"}[first]
    losses, begun = {}, tmp_path / "run"
    printed(*train(first, tiny_faces, begun, "--max-steps", 2, backbone=TINY))
    for then in (first, second):
        output = Path(shutil.copytree(begun, tmp_path / f"run-{then}"))
        more = ("--resume", "--backend", then, "--max-steps", 4)
        printed("train", "--output", output, *more)
        lines = (output / "metrics.jsonl").read_text().splitlines()
        losses[then] = [json.loads(line)["loss"] for line in lines]
    assert len(losses[first]) == 4
    np.testing.assert_allclose(losses[second], losses[first], rtol=1e-3)


def test_weights_of_another_shape_are_named(cli, backend, tmp_path):
    from marginface import backbones

    weights = backbones.initial_weights(backbones.describe("mbf", 64), 0)
    backbones.write_weights(tmp_path / "mbf.safetensors", weights)
    status, _, said = cli(
        *("export", "--weights", tmp_path / "mbf.safetensors", "--backbone", "mbf"),
        *("--embedding-size", 512, "--backend", backend, "--output", tmp_path / "mbf.onnx"),
    )
    assert status == 2
    assert "features.layers.2.weight is [64, 512] instead of [512, 512]" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "mbf.onnx").exists()


def test_a_run_does_not_go_among_the_images(refusal, backend, tiny_faces):
    before = sorted(tiny_faces.rglob("*"))
    assert "among the images; choose a folder outside" in refusal(
        *train(backend, tiny_faces, tiny_faces / "run", "--max-steps", 1)
    )
    assert sorted(tiny_faces.rglob("*")) == before


def test_a_bad_verification_image_is_found_before_training(
    refusal, backend, tiny_faces, pairs, tmp_path
):
    images = tmp_path / "images"
    shutil.copytree(tiny_faces, images)
    broken = images / "person_0" / "person_0_0001.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    more = ("--max-steps", 1, "--images", images, "--pairs", pairs)
    assert "person_0_0001.png" in refusal(*train(backend, tiny_faces, tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()


def test_garbage_weights_are_refused(refusal, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "weights.pt").write_text("hello")
    output = tmp_path / "model.onnx"
    arguments = ("--weights", tmp_path / "weights.pt", "--backbone", "mbf", "--output", output)
    assert "expected a plain state_dict" in refusal("export", *arguments)
    assert not output.exists()


def test_a_replaced_submodule_counts():
    torch = pytest.importorskip("torch")
    from marginface_torch import create_backbone

    backbone = create_backbone("mobilefacenet", 16, input_size=(48, 48), seed=0).eval()
    images = torch.ones(1, 3, 48, 48)
    before = backbone(images)
    backbone.linear1.bn = torch.nn.Identity()
    with torch.no_grad():
        backbone.linear1.conv.weight.mul_(2)
    torch.testing.assert_close(backbone(images), 2 * before * (1 + 1e-5) ** 0.5)
