"""What is given as a model and is none is told the way to one."""

import pytest

import marginface as mf
from marginface import MarginfaceError
from marginface.backbones import read_weights
from marginface.embeddings.embedder import open_embedder


@pytest.mark.parametrize("name", ["w.keras", "w.h5", "weights", "saved"])
def test_what_keras_saves_is_told_the_way_to_onnx(tmp_path, name):
    path = tmp_path / name
    if name == "saved":
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    else:
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(9))
    ways = r"; write it as \.onnx, .* GhostFaceNet's .* tf2onnx, .* marginface_tf\.export_onnx"
    for read in (open_embedder, mf.info, read_weights)[: 1 if path.is_dir() else None]:
        with pytest.raises(MarginfaceError, match=ways) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_folder_of_runs_is_told_one_of_them(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first/model.json").write_text("{}")
    with pytest.raises(MarginfaceError, match=f"no model.json.*, but {tmp_path / 'first'} does"):
        open_embedder(tmp_path)
