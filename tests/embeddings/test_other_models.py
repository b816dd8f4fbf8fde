"""What is given as a model and is none is told the way to one."""

import pytest

from marginface import MarginfaceError
from marginface.embeddings.embedder import open_embedder


@pytest.mark.parametrize("name", ["w.keras", "w.h5", "weights", "saved"])
def test_what_keras_saves_is_told_the_way_to_onnx(tmp_path, name):
    path = tmp_path / name
    if name == "saved":
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    else:
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(9))
    with pytest.raises(MarginfaceError, match=r"write an \.onnx with marginface_tf\.export_onnx"):
        open_embedder(path)


def test_a_folder_of_runs_is_told_one_of_them(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first/model.json").write_text("{}")
    with pytest.raises(MarginfaceError, match=f"no model.json.*, but {tmp_path / 'first'} does"):
        open_embedder(tmp_path)
