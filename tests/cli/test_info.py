"""`marginface info` of every kind of model."""

import json
from functools import partial

import numpy as np
import onnx
import pytest
from runs import save_checkpoint
from tiny_model import save_model

import marginface as mf
from marginface import backbones
from marginface.arrays import save_file
from marginface.backbones import IMAGES
from marginface.backbones.naming import find_naming, write_state_dict
from marginface.cards import Card, write_model_folder
from marginface.cards.folder import sha256_of
from marginface.model import ModelSpec
from marginface.pickles.torch_writing import write_torch_file
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
        (None, {"marginface.card": '{"stars": 5}'}, "its metadata 'marginface.card' is not what"),
        (None, {"marginface.card": '{"licence": "MIT"}'}, "licence MIT"),
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


def drawn(name, size=8):
    graph = backbones.describe(name, size)
    return graph, backbones.initial_weights(graph, 0)


def test_a_projects_weights(cli, tmp_path):
    path, (graph, arrays) = tmp_path / "w.ckpt", drawn("iresnet18")
    state = {f"features.module.{name}": array for name, array in arrays.items()}
    state |= {"module.fc.weight": np.ones((8, 5), np.float32)}
    write_torch_file(path, {"state_dict": state, "optimizer": {}})
    found = described(cli, path)
    assert (found["kind"], found["backbone"], found["namings"]) == (
        *("weights", "iresnet18"),
        ["magface"],
    )
    assert (found["input_size"], found["embedding_size"]) == ([112, 112], 8)
    assert found["parameters"] == graph.count_parameters()
    assert found["preprocessing"]["channels"] == "bgr"
    assert found["preprocessing"]["std"] == [255] * 3
    assert found["sha256"] == sha256_of(path)
    more = found["more"]
    assert more["named as by"].startswith("magface (channels bgr, mean 0, std 255, BatchNorm")
    assert more["stated in"].startswith("IrvingMeng/MagFace, ")
    assert more["BatchNorm eps"] == "2e-05"
    assert more["tensors"] == (
        f"{len(arrays) + 1}: used {len(arrays)}, none missing, all renamed (from "
        "features.module.*), left 1 of training (module.fc.weight), not read: optimizer"
    )
    assert (more["dtype"], more["class weights"]) == ("float32", "module.fc.weight: 5 identities")
    assert mf.info(path).spec.graph().batch_norm_epsilon == 2e-5


def test_class_weights_of_a_checkpoint_to_resume_from(tmp_path):
    _, arrays = drawn("mbf")
    checkpoint = {"state_dict_backbone": arrays}
    checkpoint["state_dict_softmax_fc"] = {"weight": np.ones((7, 8), np.float32)}
    write_torch_file(tmp_path / "checkpoint_gpu_0.pt", checkpoint)
    about = mf.info(tmp_path / "checkpoint_gpu_0.pt")
    assert about.more["class weights"] == "state_dict_softmax_fc: 7 identities"
    assert about.namings == ("insightface",)


def test_types_of_numbers(tmp_path):
    _, arrays = drawn("mbf")
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    save_file(
        halves | {"features.layers.3.bias": np.zeros(8, np.float32)}, tmp_path / "w.safetensors"
    )
    types = mf.info(tmp_path / "w.safetensors").more["dtype"]
    assert types == f"{len(arrays) - 1} float16, 1 float32"


def test_bfloat16_is_called_so(tmp_path):
    torch = pytest.importorskip("torch")
    _, arrays = drawn("mbf")
    state = {name: torch.from_numpy(array).bfloat16() for name, array in arrays.items()}
    torch.save(state, tmp_path / "w.pt")
    pytest.importorskip("safetensors.torch").save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        assert mf.info(tmp_path / name).more["dtype"] == "bfloat16"


def test_weights_whose_project_is_not_known(cli, tmp_path):
    _, arrays = drawn("mbf")
    path = tmp_path / "w.safetensors"
    save_file({f"encoder.{name}": array for name, array in arrays.items()}, path)
    found = described(cli, path)
    assert (found["backbone"], found["preprocessing"], found["namings"]) == ("mbf", None, [])
    status, out, _ = cli("info", path)
    assert status == 0
    for each in (
        "112 x 112 pixels; not stated",
        "nobody: names with the prefix 'encoder.'",
        "not stated; the network's is taken, 1e-05",
        "none beside",
    ):
        assert each in out


def test_projects_that_differ(tmp_path):
    graph, arrays = drawn("ir50_evolve")
    write_state_dict(tmp_path / "w.pt", graph, arrays, find_naming("evolve"))
    about = mf.info(tmp_path / "w.pt")
    assert (about.backbone, about.preprocessing, about.spec) == ("ir50_evolve", None, None)
    assert about.namings == ("evolve", "treb1en")
    rows = about.rows()
    assert rows["input"] == "112 x 112 pixels; as the project has it"
    assert rows["named as by"].endswith("they differ, convert --channels says which it is")


def strided(graph, _, stride):
    x = graph.conv("stem", IMAGES, 4, 1, stride=stride)
    graph.linear("fc", graph.flatten(graph.global_pool(x)), graph.embedding_size, bias=True)


def test_several_networks_that_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    for stride in (1, 2):
        backbones.register_backbone(f"strided{stride}", partial(strided, stride=stride))
    _, arrays = drawn("strided1")
    save_file(arrays, tmp_path / "w.safetensors")
    about = mf.info(tmp_path / "w.safetensors")
    assert (about.backbone, about.candidates) == (None, ("strided1", "strided2"))
    assert about.rows()["architecture"].startswith("strided1 or strided2: their names and shapes")
    with pytest.raises(mf.MarginfaceError, match="strided1, strided2; say which with backbone"):
        mf.convert(tmp_path / "w.safetensors", tmp_path / "w.pt")


def test_weights_that_differ_in_training_alone(tmp_path):
    _, arrays = drawn("vit_t")
    save_file(arrays, tmp_path / "w.safetensors")
    about = mf.info(tmp_path / "w.safetensors")
    assert (about.backbone, about.candidates) == ("vit_t", ("vit_t", "vit_t_dp005_mask0"))
    assert about.rows()["architecture"] == "vit_t or vit_t_dp005_mask0, the same but for training"


def half(path):
    arrays = dict(list(drawn("ir18")[1].items())[:80])
    save_file(arrays, path)


def cut(path):
    save_file(drawn("mbf")[1], path)
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (half, "is ir18 of 512 numbers from 112x112 pixels, 80 of 149 arrays"),
        (cut, "is not a whole safetensors file"),
        (lambda path: save_file({"a.b": np.ones(3)}, path), "and none is near; its arrays are"),
        (lambda path: path.write_text("text"), "is not a whole safetensors file"),
    ],
)
def test_files_that_convert_refuses_are_refused_alike(refusal, tmp_path, write, words):
    write(tmp_path / "w.safetensors")
    said = refusal("info", tmp_path / "w.safetensors")
    assert words in said
    assert said == refusal("convert", tmp_path / "w.safetensors", "--output", tmp_path / "w.pt")


def test_refusals(refusal, tmp_path):
    assert "no such file or folder" in refusal("info", tmp_path / "none")
    (tmp_path / "text.onnx").write_text("text")
    assert "text.onnx is not an ONNX model" in refusal("info", tmp_path / "text.onnx")
    assert "holds no run" in refusal("info", tmp_path)
    (tmp_path / "w.safetensors").touch()
    assert f"`marginface convert` may know, {tmp_path / 'w.safet'}" in refusal("info", tmp_path)
