"""The loss of one's own that docs/losses.md shows, in both frameworks and in every command."""

import subprocess
import sys
from pathlib import Path

import pytest
from frameworks import Framework

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from own_losses import forgetting, write_example

from marginface import MarginfaceError, losses
from marginface.cli.main import main
from marginface.losses.describe import page
from marginface.runs.folder import load_run

TINY = [
    "--backbone",
    "mobilefacenet",
    "--embedding-size",
    "4",
    "--batch-size",
    "4",
    "--checkpoint-every",
    "1",
]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    forgetting(monkeypatch, tmp_path)
    return write_example(tmp_path)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "argv", ["marginface", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return run


def test_parity(framework: Framework, place: str, cli) -> None:
    status, out, _ = cli("parity", "--loss", place, "--backend", framework.name)
    assert status == 0
    assert "all 12 comparisons are within tolerance" in out


def test_wrong_code_is_told(framework: Framework, place: str, cli) -> None:
    code = Path(f"my_losses_{framework.name}.py")
    code.write_text(code.read_text().replace("cosines > 0", "cosines > 0.5"))
    status, out, _ = cli("parity", "--loss", place, "--backend", framework.name)
    assert status == 1
    assert "comparisons are beyond tolerance" in out


def test_a_head_takes_it_by_name_and_as_it_is(framework: Framework, place: str) -> None:
    kind = losses.load(place)
    by_name = framework.head("easy_cosface", 4, 3)
    assert by_name.loss == framework.head(kind(), 4, 3).loss == kind()


def test_one_framework_is_enough(framework: Framework, place: str, cli) -> None:
    other = "tf" if framework.name == "torch" else "torch"
    text = Path("my_losses.py").read_text()
    Path("my_losses.py").write_text(
        text.replace(f', {other}="my_losses_{other}:EasyCosFaceOps"', "").replace(
            f'{other}="my_losses_{other}:EasyCosFaceOps", ', ""
        )
    )
    said = (
        f"marginface: error: loss 'easy_cosface' has no code for backend {other}, only for "
        f"{framework.name}; choose that, or register it with {other}= as well\n"
    )
    named = ["--loss", place, "--backend", other]
    for command in (
        ["parity", *named],
        ["train", *named, "--data", "faces", "--output", "run"],
        ["bench", "losses", "--losses", place, "--backend", other],
    ):
        assert cli(*command) == (2, "", said)
    assert not Path("run").exists()
    status, out, _ = cli("parity", "--loss", place)  # in what there is
    assert status == 0
    assert f"{framework.name} against spec" in out
    assert "against tf" not in out
    with pytest.raises(MarginfaceError, match=f"has no code for backend {other}"):
        (framework.head if other == framework.name else _other(other))("easy_cosface", 4, 3)


def _other(name: str):
    from frameworks import FRAMEWORKS

    return FRAMEWORKS[name]().head


def test_bench(framework: Framework, place: str, cli) -> None:
    options = ["--sizes", "4x10", "--rounds", "1", "--backend", framework.name]
    status, out, _ = cli("bench", "losses", "--losses", place, *options)
    assert status == 0
    assert place in out


def test_it_is_explained_and_drawn(place: str, cli) -> None:
    status, out, _ = cli("losses", place)
    assert status == 0
    assert "EasyCosFace: CosFace's margin where the cosine is positive." in out
    assert "in [0, 2)" in out
    assert f"marginface train --loss {place} --scale 64 --margin 0.3" in out
    assert cli("losses", place, "--plot", "easy.png")[0] == 0
    assert Path("easy.png").stat().st_size > 1000
    assert "\n## easy_cosface\n" in page(["easy_cosface"])
    assert "easy_cosface" not in page()


def test_training_and_what_comes_after(
    framework: Framework, place: str, cli, own_faces: Path
) -> None:
    """A run goes on only where the command names the code; whoever uses the model needs none."""
    backend = ["--backend", framework.name]
    data = ["--data", str(own_faces), "--output", "run", *backend]
    status, _, error = cli("train", *TINY, *data, "--max-steps", "1", "--loss", place)
    assert status == 0, error
    assert load_run("run").config["loss"] == place

    code = (
        "import sys; from marginface.cli.main import main\n"
        "try: main()\n"
        "finally: print('my_losses' in sys.modules)"
    )

    def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )

    more = ["train", "--output", "run", "--resume", "--max-steps", "2"]
    refused = fresh(*more)
    assert refused.returncode == 2
    assert f"code is imported only where the command names it: give --loss {place}" in (
        refused.stderr
    )
    config = fresh("train", "--config", "run/config.yaml", "--output", "other")
    assert (config.returncode, config.stdout) == (2, "False\n")
    exported = fresh("export", "--run", "run", "--output", "model.onnx")
    assert (exported.returncode, exported.stdout.splitlines()[-1]) == (0, "False")
    status, _, error = cli(*more, "--loss", place)
    assert status == 0, error
    assert load_run("run").step == 2


@pytest.fixture
def own_faces(tmp_path: Path) -> Path:
    """Two identities, four images each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for identity in ("one", "two"):
        (tmp_path / "faces" / identity).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / identity / f"{number}.png")
    return tmp_path / "faces"
