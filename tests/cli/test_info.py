"""`marginface info` of every kind of model."""

import json

import onnx
import pytest
from runs import save_checkpoint
from tiny_model import save_model

from marginface import backbones
from marginface.cards import Card, write_model_folder
from marginface.model import ModelSpec
from marginface.runs.checkpoints import Checkpoint

SPEC = ModelSpec("mobilefacenet", 8, (32, 32))
PARAMETERS = sum(
    array.size
    for name, array in backbones.initial_weights(SPEC.graph(), 0).items()
    if "running_" not in name
)


@pytest.fixture
def weights():
    return backbones.initial_weights(SPEC.graph(), 0)


def described(cli, model):
    status, out, err = cli("info", model, "--json")
    assert status == 0, err
    return json.loads(out)


def test_a_folder(cli, tmp_path, weights):
    folder = tmp_path / "model"
    write_model_folder(folder, SPEC, weights, Card(licence="MIT", figures={"LFW": 99.1}))
    found = described(cli, folder)
    assert found["kind"] == "folder"
    assert found["backbone"] == "mobilefacenet"
    assert found["parameters"] == PARAMETERS
    assert found["card"] == {"licence": "MIT", "figures": {"LFW": 99.1}}
    status, out, _ = cli("info", folder)
    assert status == 0
    for each in ("architecture", "32 x 32 pixels; RGB, (x - 127.5) / 127.5", "MIT", "figure: LFW"):
        assert each in out


def test_a_run(cli, tmp_path, weights):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.json").write_text(json.dumps(SPEC.to_json()))
    (run / "config.yaml").write_text("loss: arcface\nmargin: 0.4\nbackend: torch\n")
    state = {f"backbone.{name}": value for name, value in weights.items()}
    save_checkpoint(run / "checkpoints", Checkpoint(1, state, {}))
    found = described(cli, run)
    assert (found["kind"], found["parameters"], found["sha256"]) == ("run", PARAMETERS, None)
    assert found["card"] == {"loss": "arcface", "loss_parameters": {"margin": 0.4}}
    assert found["more"] == {"backend": "torch"}


def test_what_another_program_wrote(cli, tmp_path):
    model = save_model(tmp_path / "other.onnx")
    found = described(cli, model)
    assert found["kind"] == "foreign onnx"
    assert found["embedding_size"] == 12
    assert found["more"]["preprocessing stated"].startswith("no")
    assert found["more"]["operator set"] == "17"


def test_what_embeds_no_face(cli, tmp_path):
    path = tmp_path / "sum.onnx"
    text = """<ir_version: 8, opset_import: ["": 17]>
        sum (float[N] a, float[N] b) => (float[N] c) { c = Add(a, b) }"""
    onnx.save(onnx.parser.parse_model(text), path)
    found = described(cli, path)
    assert (found["embedding_size"], found["parameters"]) == (None, 0)
    assert found["more"]["embeds faces"].startswith("no: ")
    assert found["more"]["takes"] == "a float32 [?], b float32 [?]"


PIXELS = {"mean": [0, 0, 0], "std": [1, 1, 1], "channels": "rgb", "crop": None}
NO_SPEC = "its metadata 'marginface' is not what this version writes"


def names(model):
    model.producer_name = "\x1b[31mred"


def other_type(model):
    model.graph.input[0].type.tensor_type.elem_type = 999


def data_elsewhere(model):
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[12], data_location=1)
    tensor.external_data.add(key="location", value="../w")


@pytest.mark.parametrize(
    ("change", "metadata", "words"),
    [
        (names, {}, r"\x1b[31mred"),
        (other_type, {}, "takes x ? [?, 3, 112, 112]"),
        (data_elsewhere, {}, "is not in the model's folder"),
        (None, {"marginface": "{", "marginface.preprocessing": json.dumps(PIXELS)}, NO_SPEC),
        (None, {"marginface": "[]", "marginface.preprocessing": json.dumps(PIXELS)}, NO_SPEC),
        (
            None,
            {"marginface": json.dumps(SPEC.to_json()), "loss": "x", "loss_parameters": "[" * 9999},
            "architecture mobilefacenet",
        ),
        (lambda model: model.Clear(), {}, "is not an ONNX model"),
    ],
)
def test_hostile_files(cli, tmp_path, change, metadata, words):
    path = save_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    if change is not None:
        change(model)
    path.write_bytes(model.SerializeToString())
    status, out, err = cli("info", path)
    assert words in " ".join((out + err).split())
    assert "\x1b" not in out + err
    assert (status, err == "") in ((0, True), (2, False))


def test_refusals(refusal, tmp_path):
    assert "no such file or folder" in refusal("info", tmp_path / "none")
    (tmp_path / "text.onnx").write_text("text")
    assert "text.onnx is not an ONNX model" in refusal("info", tmp_path / "text.onnx")
    assert "holds no run" in refusal("info", tmp_path)
    (tmp_path / "w.safetensors").touch()
    assert f"`marginface convert` may know, {tmp_path / 'w.safet'}" in refusal("info", tmp_path)
