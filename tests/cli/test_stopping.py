import pytest


def stop(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "command",
    [
        ("report", "m.onnx", "--output", "page", "--val", "a.bin"),
        ("evaluate", "--model", "m.onnx", "--val", "a.bin"),
        ("losses",),
        ("templates", "--help"),
    ],
)
def test_ctrl_c_ends_a_command_in_a_line_and_status_130(cli, monkeypatch, command):
    monkeypatch.setattr("marginface.cli.lazy.load_command", stop)
    status, out, err = cli(*command)
    assert (status, out) == (130, "")
    assert err.strip() == "marginface: stopped by Ctrl-C"


def test_embed_says_how_to_go_on(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("marginface.data.opening.open_by_name", lambda *_, **__: None)
    monkeypatch.setattr("marginface.cli.model_options.open_model", lambda *_: None)
    monkeypatch.setattr("marginface.embeddings.store.embed_folder", stop)
    output = tmp_path / "e.npz"
    status, _, err = cli("embed", "--model", "m.onnx", "--images", "faces", "--output", output)
    assert status == 130
    assert "the same command goes on from there" in err
