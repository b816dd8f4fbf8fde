"""The demo from end to end, on a handful of faces."""

from pathlib import Path

import pytest

from marginface.demo import run
from marginface.errors import MarginfaceError
from marginface.outputs import SIGNATURE, check_folder


@pytest.fixture
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"IDENTITIES": 16, "IMAGES": 3, "HELD_OUT": 4, "COMPARED": 5, "BATCH_SIZE": 4}
    for name, value in few.items():
        monkeypatch.setattr(run, name, value)


@pytest.mark.usefixtures("few_faces")
@pytest.mark.parametrize(
    ("backend", "module"),
    [("torch", "torch"), pytest.param("tf", "tensorflow", marks=pytest.mark.slow)],
)
def test_the_demo_trains_exports_and_reports(
    cli, backend: str, module: str, tmp_path: Path
) -> None:
    pytest.importorskip(module)
    output = tmp_path / "demo"
    done = cli("demo", "--backend", backend, "--output", output)
    assert done.status == 0, done.stderr
    made = {path.name for path in output.iterdir()}
    assert made == {"faces", "run", "model.onnx", "index.html", SIGNATURE}
    assert str(output / "index.html") in done.stdout
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "16 drawn people, 3 pictures each" in page
    assert "over 5 pictures" in page
    with pytest.raises(MarginfaceError, match="exists already; pass --overwrite"):
        run.run_demo(output, backend=backend)
    check_folder(output, overwrite=True)


def test_an_unknown_backend_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MarginfaceError, match="unknown backend 'jaxx'"):
        run.run_demo(tmp_path / "demo", backend="jaxx")
    assert not list(tmp_path.iterdir())
