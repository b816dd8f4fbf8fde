"""Model folders: what is written is what is read, and nothing else is taken."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from marginface import backbones
from marginface.backend import installed_backends
from marginface.cards import Card, is_model_folder, read_model_folder, write_model_folder
from marginface.cards.card import parse_figures
from marginface.embeddings.embedder import open_embedder
from marginface.errors import MarginfaceError
from marginface.model import ModelSpec, Preprocessing

SPEC = ModelSpec("mobilefacenet", 8, (32, 32), preprocessing=Preprocessing(channels="bgr"))
CARD = Card(
    loss="cosface",
    loss_parameters={"margin": 0.4},
    training_data="my | <b>own</b> people",
    figures={"LFW": 99.83},
    licence="no: commercial use",
    origin="me",
)


@pytest.fixture(scope="module")
def weights():
    return backbones.initial_weights(SPEC.graph(), 0)


@pytest.fixture
def folder(tmp_path, weights):
    write_model_folder(tmp_path / "model", SPEC, weights, CARD)
    return tmp_path / "model"


def test_what_is_written_is_read(folder, weights):
    assert is_model_folder(folder)
    model = read_model_folder(folder)
    assert (model.spec, model.card) == (SPEC, CARD)
    assert list(model.weights) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(model.weights[name], array)


def test_the_page_is_for_people_and_hubs(folder):
    _, head, page = (folder / "README.md").read_text("utf-8").split("---\n")
    assert yaml.safe_load(head) == {
        "license": "no: commercial use",
        "library_name": "marginface",
        "pipeline_tag": "feature-extraction",
        "tags": ["face-recognition", "cosface"],
    }
    assert r"| training data | my \| \<b\>own\</b\> people |" in page
    assert "| input | 32 x 32 pixels; BGR, (x - 127.5) / 127.5 |" in page
    assert "| loss | cosface(margin=0.4) |" in page
    assert "| LFW | 99.83 |" in page
    assert read_model_folder(folder).sha256 in page


def test_every_backend_embeds_alike(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    backends = ("onnx", *installed_backends())
    found = [open_embedder(folder, backend=name)(pixels) for name in backends]
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=1e-4, atol=1e-5)


def test_it_is_weights_to_export_and_to_start_from(folder, weights, cli, tmp_path):
    read = backbones.read_weights(folder)
    assert sorted(read) == sorted(weights)
    exported = tmp_path / "model.onnx"
    status, out, err = cli("export", "--model", folder, "--output", exported)
    assert status == 0, err
    status, out, err = cli("info", exported)
    assert status == 0, err
    assert "cosface(margin=0.4)" in out
    assert "BGR" in out


def change(folder: Path, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def change_model(folder: Path, **values):
    change(folder, model=SPEC.to_json() | values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"x"),
            "is not what config.json says: its SHA-256 begins with",
        ),
        (lambda f: change(f, sha256=7), "config.json is not what this version writes"),
        (lambda f: change(f, card={"stars": 5}), "a model card has 'stars'; expected figures"),
        (lambda f: change(f, card=[]), "a model card is no table"),
        (lambda f: change(f, card={"loss": 3}), "a model card's loss must be a text, got 3"),
        (lambda f: change(f, card={"figures": {"LFW": "99"}}), "figure 'LFW' must be a number"),
        (lambda f: change(f, card={"figures": {"LFW": 10**400}}), "figure 'LFW' must be a number"),
        (lambda f: change_model(f, dropout=2), r"config.json: dropout must be in \[0, 1\)"),
        (
            lambda f: change_model(
                f, preprocessing=SPEC.preprocessing.to_json() | {"mean": [[1]] * 3}
            ),
            "config.json is not what this version writes",
        ),
        (lambda f: change(f, card={"licence": "x" * 3000}), "has 3000 characters; at most 2000"),
        (lambda f: change(f, model={"backbone": "mobilefacenet"}), "is not what this version"),
        (lambda f: change(f, model=None), "is not what this version writes"),
    ],
)
def test_what_is_damaged_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(MarginfaceError, match=message):
        read_model_folder(folder)


def test_another_folder_is_none(tmp_path):
    assert not is_model_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not is_model_folder(tmp_path)
    with pytest.raises(MarginfaceError, match="holds no model of marginface"):
        read_model_folder(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert not is_model_folder(tmp_path)


def test_weights_of_another_network_are_not_written(tmp_path, weights):
    with pytest.raises(MarginfaceError, match="does not fit backbone 'mbf'"):
        write_model_folder(tmp_path / "model", ModelSpec("mbf", 8, (32, 32)), weights, CARD)
    assert not (tmp_path / "model").exists()


def test_only_a_folder_of_ours_is_replaced(folder, weights):
    with pytest.raises(MarginfaceError, match="exists already"):
        write_model_folder(folder, SPEC, weights, Card())
    write_model_folder(folder, SPEC, weights, Card(), overwrite=True)
    assert read_model_folder(folder).card == Card()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(MarginfaceError, match="only what marginface wrote"):
        write_model_folder(folder, SPEC, weights, Card(), overwrite=True)


@pytest.mark.parametrize("text", ["LFW", "=3", "LFW=high", "LFW=nan", " =1"])
def test_figures_that_are_none(text):
    with pytest.raises(MarginfaceError, match=r"expected NAME=NUMBER, as LFW=99\.83"):
        parse_figures([text])


def test_a_figure_that_is_given_twice():
    with pytest.raises(MarginfaceError, match="'LFW' is given twice"):
        parse_figures(["LFW=1", "LFW =2"])
