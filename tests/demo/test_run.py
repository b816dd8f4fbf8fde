"""The demo from end to end, on a handful of faces."""

from pathlib import Path
from typing import Any

import pytest
import small_network

from marginface.demo import run
from marginface.errors import MarginfaceError
from marginface.outputs import SIGNATURE, check_folder


@pytest.fixture
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"IDENTITIES": 16, "IMAGES": 3, "HELD_OUT": 4, "COMPARED": 5, "BATCH_SIZE": 4}
    for name, value in few.items():
        monkeypatch.setattr(run, name, value)


@pytest.fixture(params=["small", pytest.param("its own", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network that takes less time, and slowly the demo's own."""
    if request.param == "small":
        own = run.demo_config

        def small(*given: Any) -> Any:
            return own(*given).model_copy(update={"backbone": small_network.NAME})

        monkeypatch.setattr(run, "demo_config", small)


@pytest.mark.usefixtures("few_faces", "network")
@pytest.mark.parametrize(("backend", "module"), [("torch", "torch"), ("tf", "tensorflow")])
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
    assert f"backend: {backend}\n" in (output / "run" / "config.yaml").read_text(encoding="utf-8")
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
