"""What a notebook gets: bars that change in place, lines that wrap, tables and pictures."""

import pytest
from packing_faces import write_faces
from small_training import PEOPLE, small

import marginface as mf

shells = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
capture = pytest.importorskip("IPython.utils.capture")


class Cell(shells.DisplayPublisher):
    """Keeps what is shown, and how often it was changed."""

    def publish(self, data, *, transient=None, update=False, **_):
        """Take an output as a notebook does."""
        name = (transient or {}).get("display_id", len(self.outputs))
        assert update == (name in self.outputs)
        self.outputs[name] = data
        self.updates += update


@pytest.fixture
def cell(monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    shell = shells.InteractiveShell.instance()
    publisher = Cell()
    publisher.outputs, publisher.updates = {}, 0
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher
    shells.InteractiveShell.clear_instance()


def test_training_shows_one_bar_and_a_line_for_each_thing_to_say(tmp_path, cell, capfd):
    faces = write_faces(tmp_path / "faces", PEOPLE, side=112)
    mf.train(small(faces, tmp_path / "run", max_steps=2))
    shown = [data["text/plain"].strip() for data in cell.outputs.values()]
    beginnings = [
        "checking images 16/16",
        "step 2/2 ━━━",
        "training: mobilefacenet-8",
        "finished 2",
    ]
    assert [line[: len(each)] for line, each in zip(shown, beginnings, strict=True)] == beginnings
    assert cell.updates >= 2  # of the two first
    assert all(data["text/html"].startswith("<pre") for data in cell.outputs.values())
    assert max(len(line) for text in shown for line in text.splitlines()) <= 100
    assert capfd.readouterr() == ("", "")


def test_an_error_before_there_is_progress_stands_alone(tmp_path, cell):
    with pytest.raises(mf.MarginfaceError, match="no such file or folder"):
        mf.train(small(tmp_path / "nowhere", tmp_path / "run"))
    assert cell.outputs == {}
