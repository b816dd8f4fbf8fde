"""From an export back to the arrays that it was written from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from marginface import MarginfaceError, backbones
from marginface.model import ModelSpec
from marginface.onnx.digest import onnx_digest
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx

SPECS = {
    "mobilefacenet": ModelSpec("mobilefacenet", 16, (32, 32)),
    "iresnet18": ModelSpec("iresnet18", 16, (32, 32)),  # BatchNorms before and behind its fc
    "vit_t": ModelSpec("vit_t", 16, (18, 18)),
    "edgeface_xs_gamma_06": ModelSpec("edgeface_xs_gamma_06", 16, (32, 32)),
    "ghostfacenet_v1": ModelSpec("ghostfacenet_v1", 16, (32, 32)),
}


def weights_of(spec):
    """Draw weights and statistics as of a trained network, no two alike."""
    rng = np.random.default_rng(0)
    return {
        name: (1 + np.abs(rng.normal(0, 0.3, value.shape))).astype(np.float32)
        if name.endswith("running_var")
        else (value + rng.normal(0, 0.05, value.shape)).astype(np.float32)
        for name, value in backbones.initial_weights(spec.graph(), 1).items()
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "m.onnx"
    spec = SPECS["mobilefacenet"]
    path.write_bytes(build_onnx(spec, weights_of(spec)).SerializeToString())
    return path


@pytest.mark.parametrize("name", SPECS)
def test_an_export_gives_its_weights_back(name, tmp_path):
    spec, path = SPECS[name], tmp_path / "m.onnx"
    given = weights_of(spec)
    options = {"preprocess": True, "normalize": True} if name == "iresnet18" else {}
    path.write_bytes(build_onnx(spec, given, **options).SerializeToString())
    read = backbones.check_weights(spec.graph(), backbones.read_weights(path))
    for key, value in given.items():
        # Sums in float32 over the inputs of a layer that was folded twice.
        np.testing.assert_allclose(read[key], value, rtol=1e-6, atol=1e-6 * np.abs(value).max())
        assert read[key].dtype == np.float32


def changed(path, to, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, to)
    return to


def test_what_is_kept_for_training_does_not_change_the_model(exported, tmp_path):
    bare = changed(exported, tmp_path / "m.onnx", lambda m: m.ClearField("training_info"))
    images = np.random.default_rng(2).normal(size=(2, 3, 32, 32)).astype(np.float32)
    with_it, without = (OnnxSession(path)(images) for path in (exported, bare))
    np.testing.assert_array_equal(with_it, without)
    assert onnx_digest(exported) == onnx_digest(bare)
    share = (exported.stat().st_size - bare.stat().st_size) / bare.stat().st_size
    assert share < 0.06


def reshape(model, suffix, shape):
    for each in model.graph.initializer:
        if each.name.endswith(suffix):
            each.CopyFrom(onnx.numpy_helper.from_array(np.ones(shape, np.float32), each.name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.ClearField("training_info"), "folded into its weights, and no .* to train on"),
        (lambda m: m.ClearField("metadata_props"), "is no export of marginface"),
        (lambda m: m.graph.ClearField("initializer"), "does not hold .* as marginface exports it"),
        (lambda m: m.graph.initializer[0].ClearField("raw_data"), "does not hold"),
        (lambda m: [each.ClearField("dims") for each in m.graph.initializer], "does not hold"),
        (lambda m: reshape(m, ".bias", (2, 3)), "does not hold its biases"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(exported, tmp_path, change, words):
    path = changed(exported, tmp_path / "m.onnx", change)
    with pytest.raises(MarginfaceError, match=words) as caught:
        backbones.read_weights(path)
    assert "\n" not in str(caught.value)


def test_half_a_file_is_refused(exported, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(exported.read_bytes()[:-5000])
    with pytest.raises(MarginfaceError, match="not an ONNX model, or a damaged one"):
        backbones.read_weights(path)
