"""Weights go from one project's names to another's, and give the same embeddings there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from real_faces import FACES, needs_faces

import marginface as mf
from marginface.api.convert import Converted
from marginface.backbones import describe, initial_weights, read_weights
from marginface.backbones.layers import BatchNorm
from marginface.backbones.naming import recognise
from marginface.model import ModelSpec
from marginface.onnx.metadata import read_metadata
from marginface.vectors import unit_embeddings

GRAPH = describe("ir18", 16)


@pytest.fixture(scope="module")
def adaface(tmp_path_factory) -> Path:
    """A file of AdaFace's, whose network takes BGR."""
    path = tmp_path_factory.mktemp("weights") / "adaface.ckpt"
    state = {f"model.{n}": torch.from_numpy(a) for n, a in initial_weights(GRAPH, 0).items()}
    torch.save({"state_dict": state | {"head.kernel": torch.ones(16, 3)}, "epoch": 1}, path)
    return path


def embeddings(converted: Converted, rgb: np.ndarray) -> np.ndarray:
    """Embed images as the project whose names a file has does; of length 1."""
    found = recognise(read_weights(converted.path))
    network = mf.load_backend("torch").create_backbone(found.graph.name, 16)
    mf.load_backend("torch").load_weights(network, converted.path)
    images = torch.from_numpy(converted.model.preprocessing(rgb))
    with torch.no_grad():
        return unit_embeddings(network.eval()(images).numpy())


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(2, 112, 112, 3), dtype=np.uint8)


def test_another_projects_code_gives_the_same_embeddings(adaface, rgb, tmp_path):
    bgr = mf.convert(adaface, tmp_path / "own")
    assert bgr.model.preprocessing.channels == "bgr"
    inside = mf.convert(bgr.path / "model.safetensors", tmp_path / "inside")  # means the folder
    assert inside.model == bgr.model
    own = mf.convert(adaface, tmp_path / "own.safetensors")  # which says nothing of channels
    assert own.model == mf.convert(own.path, tmp_path / "again").model
    folders = [unit_embeddings(mf.load(path).embed(rgb)) for path in (bgr.path, tmp_path / "again")]
    np.testing.assert_allclose(*folders, atol=1e-5)
    assert "left 1 of training (head.kernel), not read: epoch" in str(own)
    expected = embeddings(own, rgb)
    there = mf.convert(adaface, tmp_path / "cvlface.pt", naming="cvlface")
    assert there.model.preprocessing.channels == "rgb"
    assert set(read_weights(there.path)) > {f"net.{name}" for name in GRAPH.parameters()}
    np.testing.assert_allclose(embeddings(there, rgb), expected, atol=1e-5)
    back = mf.convert(there.path, tmp_path / "back.ckpt", naming="adaface")
    for name, array in initial_weights(GRAPH, 0).items():
        np.testing.assert_array_equal(read_weights(back.path)[f"model.{name}"], array)


def test_a_configuration_beside_a_file_says_its_channels(adaface, tmp_path):
    path = mf.convert(adaface, tmp_path / "model.pt", naming="cvlface", channels="rgb").path
    assert mf.convert(path, tmp_path / "a").model.preprocessing.channels == "rgb"
    (tmp_path / "config.json").write_text('{"conf": {"color_space": "BGR", "name": "ir18"}}')
    found = mf.convert(path, tmp_path / "b")
    assert found.model.preprocessing.channels == "bgr"
    assert "named as by cvlface (channels bgr" in str(found)
    (tmp_path / "model.yaml").write_text("color_space: 'RGB'\nname: ir18\n")
    assert mf.convert(path, tmp_path / "c").model.preprocessing.channels == "rgb"


def test_to_onnx_and_back(adaface, rgb, tmp_path):
    converted = mf.convert(adaface, tmp_path / "m.onnx")
    assert converted.model.preprocessing.channels == "bgr"
    assert read_metadata(converted.path)["weights"].startswith("ir18, 16 numbers")
    own = mf.convert(adaface, tmp_path / "own.safetensors")
    model = mf.load(converted.path)
    np.testing.assert_allclose(unit_embeddings(model.embed(rgb)), embeddings(own, rgb), atol=1e-5)
    back = mf.convert(converted.path, tmp_path / "tface.pt", naming="tface")
    assert str(back).startswith("takes: RGB, (x - 127.5) / 127.5\n")
    np.testing.assert_allclose(embeddings(back, rgb), embeddings(own, rgb), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"naming": "cvl"}, "unknown naming 'cvl'; did you mean"),
        ({"naming": "insightface"}, "insightface has no ir18"),
        ({"output": "w.bin"}, "weights are written as .safetensors"),
        ({"output": "w.onnx", "naming": "tface"}, "has ONNX's own names, not tface's"),
        ({"output": "none/w.onnx"}, "none is not an existing folder"),
        ({"backbone": "ir34"}, "it is ir18 of 16 numbers"),
        ({"mean": 0}, "would get mean 127.5; write a model folder"),
        ({"naming": "cvlface", "mean": 0}, "would get mean 127.5; write a model folder"),
    ],
    ids=str,
)
def test_what_cannot_be_converted(adaface, tmp_path, options, words):
    given = {"output": "w.pt", **options}
    output = tmp_path / given.pop("output")
    with pytest.raises(mf.MarginfaceError, match=words) as caught:
        mf.convert(adaface, output, **given)
    assert "\n" not in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize("output", [("w.pt", "--as", "cvlface"), ("w.onnx",), ("folder",)])
def test_the_command_says_what_it_found(printed, adaface, tmp_path, output):
    name, *naming = output
    said = printed("convert", adaface, "--output", tmp_path / name, *naming)
    assert said.splitlines()[0] == (
        "found: ir18, 16 numbers from 112x112; named as by adaface (channels bgr, mean 127.5, "
        "std 127.5)"
    )
    assert re.search(r"renamed +149 +model.input_layer.0.weight -> input_layer.0.weight", said)
    assert re.search(r"left, of training +1 +head.kernel", said)
    assert re.search(r"missing +0", said)
    order = "RGB" if naming else "BGR"
    assert said.splitlines()[-2:] == [
        f"takes: {order}, (x - 127.5) / 127.5",
        f"wrote {tmp_path / name}",
    ]


def test_a_specification_keeps_the_epsilon_of_its_weights():
    spec = ModelSpec("iresnet18", 16, batch_norm_epsilon=2e-5)
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert "batch_norm_epsilon" not in ModelSpec("iresnet18", 16).to_json()
    layers = [node.layer for node in spec.graph().nodes]
    assert {layer.epsilon for layer in layers if isinstance(layer, BatchNorm)} == {2e-5}
    with pytest.raises(mf.MarginfaceError, match="batch_norm_epsilon must be above 0"):
        describe("iresnet18", batch_norm_epsilon=0)


@needs_faces
def test_public_weights(tmp_path):
    source = FACES / "weights" / "mobilefacenet_casia_112x96.ckpt"
    converted = mf.convert(source, tmp_path / "w.safetensors")
    assert (converted.model.backbone, converted.model.embedding_size) == ("mobilefacenet", 128)
    assert converted.model.input_size == (112, 96)
    assert "std 128)" in converted.found
    assert converted.model.preprocessing.std == (127.5,) * 3


def test_a_model_folder_keeps_what_is_known_and_stated(adaface, rgb, tmp_path):
    made = mf.convert(
        adaface, tmp_path / "model", licence="MIT", figures={"LFW": 99.2}, training_data="mine"
    )
    card = mf.info(made.path).card
    assert (card.licence, card.figures, card.training_data) == ("MIT", {"LFW": 99.2}, "mine")
    assert card.origin == "named as by adaface"
    assert mf.info(made.path).preprocessing.channels == "bgr"
    images = list(rgb)
    expected = mf.load(made.path).embed(images)
    again = mf.convert(made.path, tmp_path / "again", licence="CC0")
    assert mf.info(again.path).card == replace(card, licence="CC0")
    onnx = mf.convert(again.path, tmp_path / "model.onnx", figures={"LFW": 99.3}).path
    assert mf.info(onnx).card == replace(card, licence="CC0", figures={"LFW": 99.3})
    exported = mf.export(tmp_path / "exported.onnx", model=again.path)
    assert mf.info(mf.convert(exported, tmp_path / "back").path).card == mf.info(again.path).card
    np.testing.assert_allclose(mf.load(onnx).embed(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(mf.MarginfaceError, match="licence goes with a model folder"):
        mf.convert(made.path, tmp_path / "model.pt", licence="MIT")
    with pytest.raises(mf.MarginfaceError, match="a folder has our own names"):
        mf.convert(made.path, tmp_path / "new", naming="adaface")
    assert not (tmp_path / "new").exists()
