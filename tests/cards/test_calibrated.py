"""Thresholds of a model folder: kept in it, for its weights alone, gone when it is replaced."""

import shutil
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

import marginface as mf
from marginface import backbones
from marginface.backbones import initial_weights, write_weights
from marginface.cards import Card, write_model_folder
from marginface.embeddings.embedder import open_embedder
from marginface.model import ModelSpec
from marginface.serving.thresholds import find_calibration, read_calibrations

SPEC = ModelSpec("mobilefacenet", 8, (32, 32))


@pytest.fixture
def folder(tmp_path):
    """A model folder with thresholds, measured on a few images of noise."""
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    for name in "abcd":
        noise = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "crops" / f"{name}.png")
    pairs = [f"{a}.png {b}.png {int(a == 'a')}" for a, b in combinations("abcd", 2)]
    (tmp_path / "pairs.txt").write_text("\n".join(pairs) + "\n")
    write_model_folder(tmp_path / "model", SPEC, initial_weights(SPEC.graph(), 0), Card())
    given = {"images": tmp_path / "crops", "pairs": tmp_path / "pairs.txt"}
    result = mf.calibrate(tmp_path / "model", far=0.1, **given)
    assert result.written == tmp_path / "model" / "thresholds.json"
    return tmp_path / "model"


def test_they_are_for_its_weights_alone(folder, tmp_path):
    found = read_calibrations(folder)
    assert find_calibration(found, open_embedder(folder)) == (found[0], "")
    write_model_folder(tmp_path / "other", SPEC, initial_weights(SPEC.graph(), 1), Card())
    shutil.copy(folder / "thresholds.json", tmp_path / "other")
    with pytest.raises(mf.MarginfaceError, match="thresholds are those of another model"):
        find_calibration(read_calibrations(tmp_path / "other"), open_embedder(tmp_path / "other"))


def test_they_go_with_the_weights_that_are_replaced(folder, tmp_path):
    other = tmp_path / "other.safetensors"
    write_weights(other, initial_weights(SPEC.graph(), 1))
    with pytest.raises(mf.MarginfaceError, match="exists already; pass overwrite=True"):
        mf.convert(other, folder, input_size=(32, 32))
    assert len(read_calibrations(folder)) == 1
    with pytest.warns(match="thresholds in it went with the weights that they were measured on"):
        mf.convert(other, folder, input_size=(32, 32), overwrite=True)
    assert read_calibrations(folder) == ()
    np.testing.assert_equal(backbones.read_weights(folder), initial_weights(SPEC.graph(), 1))


def test_what_somebody_else_put_there_stays(folder, tmp_path):
    (folder / "mine.txt").write_text("mine")
    given = {"images": tmp_path / "crops", "pairs": tmp_path / "pairs.txt"}
    mf.calibrate(folder, far=0.2, **given)
    with pytest.raises(mf.MarginfaceError, match="only what marginface wrote"):
        write_model_folder(folder, SPEC, initial_weights(SPEC.graph(), 1), Card(), overwrite=True)


def test_another_epsilon_is_another_model(tmp_path):
    weights = initial_weights(SPEC.graph(), 0)
    found = set()
    for epsilon in (None, 2e-5):
        spec = ModelSpec("mobilefacenet", 8, (32, 32), batch_norm_epsilon=epsilon)
        write_model_folder(tmp_path / "model", spec, weights, Card(), overwrite=True)
        found.add(open_embedder(tmp_path / "model").fingerprint)
    assert len(found) == 2
