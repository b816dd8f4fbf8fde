"""A model folder whose BatchNorm epsilon is another: the same embeddings wherever it goes."""

import numpy as np
import pytest

import marginface as mf
from marginface.backbones import initial_weights
from marginface.backbones.naming import fit_weights
from marginface.cards import Card, write_model_folder
from marginface.model import ModelSpec

SPEC = ModelSpec("mobilefacenet", 8, (32, 32), batch_norm_epsilon=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    write_model_folder(path, SPEC, initial_weights(SPEC.graph(), 0), Card())
    return path


@pytest.mark.parametrize("option", ["model", "weights"])
def test_its_export_gives_the_same_embeddings(folder, option, tmp_path):
    pixels = list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8))
    expected = mf.load(folder).embed(pixels)
    exported = mf.export(tmp_path / "model.onnx", **{option: folder})
    np.testing.assert_allclose(mf.load(exported).embed(pixels), expected, rtol=1e-4, atol=1e-6)


def test_weights_of_it_are_for_the_usual_epsilon(folder):
    read, plain = mf.backbones.read_weights(folder), initial_weights(SPEC.graph(), 0)
    moved = [name for name in plain if not np.array_equal(read[name], plain[name])]
    assert moved == [name for name in plain if name.endswith("running_var")]
    np.testing.assert_allclose(read[moved[0]], plain[moved[0]] + 0.1 - 1e-5, rtol=1e-6)
    for name, array in fit_weights(SPEC.graph(), read).items():  # whose epsilon it is
        np.testing.assert_allclose(array, plain[name], rtol=1e-6)


def test_a_run_that_starts_from_it_says_what_differs(folder, tiny_faces, tmp_path, cli):
    pytest.importorskip("torch")
    status, _, said = cli(
        *("train", "--backend", "torch", "--data", tiny_faces, "--output", tmp_path / "run"),
        *("--backbone", "mobilefacenet", "--embedding-size", 8, "--crop", "0,0,32,32"),
        *("--channels", "bgr", "--batch-size", 4, "--max-steps", 1, "--init", folder),
    )
    assert status == 0, said
    assert "all 283 arrays of mobilefacenet taken" in " ".join(said.split())
    assert "channels bgr (was rgb)" in " ".join(said.split())
