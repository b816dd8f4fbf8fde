"""ONNX files whose tensors lie beside them: written whole, and read from their own folder only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from marginface import MarginfaceError, backbones
from marginface.embeddings.embedder import open_embedder
from marginface.model import ModelSpec
from marginface.onnx.digest import onnx_digest
from marginface.onnx.export import export_model
from marginface.onnx.files import load_model, write_model
from marginface.onnx.metadata import read_metadata, write_with_metadata
from marginface.onnx.session import OnnxSession
from marginface.onnx.writer import build_onnx

SPEC = ModelSpec("mbf", 16)
SMALL = 1000  # bytes: whatever is larger has its data beside


@pytest.fixture(scope="module")
def weights():
    return backbones.initial_weights(SPEC.graph(), 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_with_data_beside_is_the_same_model(weights, tmp_path: Path) -> None:
    whole, beside = tmp_path / "whole.onnx", tmp_path / "beside.onnx"
    reference = OnnxSession(build_onnx(SPEC, weights).SerializeToString())
    export_model(SPEC, weights, whole, reference=reference)
    export_model(SPEC, weights, beside, reference=reference, largest=SMALL)
    assert names(tmp_path) == ["beside.onnx", "beside.onnx.data", "whole.onnx"]
    assert beside.stat().st_size < whole.stat().st_size / 4
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    assert open_embedder(beside).fingerprint == open_embedder(whole).fingerprint
    write_with_metadata(beside, beside, {"note": "in place"}, largest=SMALL)
    assert names(tmp_path) == ["beside.onnx", "beside.onnx.data", "whole.onnx"]
    assert read_metadata(beside)["note"] == "in place"
    write_with_metadata(beside, tmp_path / "again.onnx", {"note": None})
    assert (tmp_path / "again.onnx").read_bytes() == whole.read_bytes()


def test_tensors_in_bodies_and_attributes_are_loaded(tmp_path: Path) -> None:
    def tensor(name: str) -> TensorProto:
        (tmp_path / "w.bin").write_bytes(np.arange(3, dtype="<f4").tobytes())
        made = numpy_helper.from_array(np.arange(3, dtype=np.float32), name)
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="w.bin")
        return made

    body = helper.make_graph([], "body", [], [], [tensor("a")])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("c")),
        helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [], [tensor("b")]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = load_model(tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    (tmp_path / "n.onnx").write_bytes(loaded.SerializeToString())
    inside = loaded.graph.node[1].attribute[0].g.initializer[0]
    for each in (loaded.graph.initializer[0], loaded.graph.node[0].attribute[0].t, inside):
        np.testing.assert_array_equal(numpy_helper.to_array(each), [0, 1, 2])
    assert len(onnx_digest(tmp_path / "n.onnx")) == 64


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "absent"])
def test_data_elsewhere_are_not_taken_in(location: str, weights, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1 << 20))
    path = tmp_path / "models" / "m.onnx"
    path.parent.mkdir()
    write_model(build_onnx(SPEC, weights), path, largest=SMALL)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MarginfaceError, match=r"is not in the model's folder|does not exist"):
        write_with_metadata(path, tmp_path / "n.onnx", {})
    assert names(tmp_path) == ["models", "secret"]


def test_a_failure_leaves_what_was_there(weights, tmp_path: Path, monkeypatch) -> None:
    path, model = tmp_path / "m.onnx", build_onnx(SPEC, weights)
    write_model(model, path, largest=SMALL)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(OSError, match="No space left"):
        write_model(model, path, largest=SMALL)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.slow  # 10 GB of memory, and twice the file
def test_a_model_that_protobuf_cannot_hold(weights, tmp_path: Path) -> None:
    model = build_onnx(SPEC, weights)
    for at in range(5):
        tensor = model.graph.initializer.add(name=f"large{at}", data_type=TensorProto.FLOAT)
        tensor.dims.append(110_000_000)
        tensor.raw_data = bytes(440_000_000)
    write_model(model, tmp_path / "m.onnx")
    del model
    assert (tmp_path / "m.onnx.data").stat().st_size > 2**31
    write_with_metadata(tmp_path / "m.onnx", tmp_path / "n.onnx", {"author": "somebody"})
    assert read_metadata(tmp_path / "n.onnx")["author"] == "somebody"
    assert onnx_digest(tmp_path / "n.onnx") == onnx_digest(tmp_path / "m.onnx")
