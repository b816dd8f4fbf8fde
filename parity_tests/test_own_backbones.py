"""The backbone of one's own that docs/backbones.md shows: trained, exported, drawn for."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tar_faces
from blocks import files
from command import cli, refusal
from frameworks import Framework
from networks import NETWORKS
from own_losses import write_example
from PIL import Image

from marginface import backbones, load_backend
from marginface.backbones import layers
from marginface.backbones.layer_names import RESERVED

PAGE = (Path(__file__).parents[1] / "docs" / "backbones.md").read_text(encoding="utf-8")
PROGRAM = files("backbones.md")["my_backbones.py"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register what `my_backbones.py` registers, for one test."""
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    (tmp_path / "my_backbones.py").write_text(PROGRAM)
    runpy.run_path(str(tmp_path / "my_backbones.py"))


def faces(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = root / f"person_{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.mark.usefixtures("small")
def test_it_trains_and_is_exported(framework: Framework, tmp_path: Path) -> None:
    data, run, path = faces(tmp_path / "faces"), tmp_path / "run", tmp_path / "small.onnx"
    given = ["--backbone", "small", "--embedding-size", 8, "--batch-size", 4, "--max-steps", 2]
    done = cli("train", "--backend", framework.name, "--data", data, "--output", run, *given)
    assert done.status == 0, done
    assert cli("export", "--run", run, "--output", path).status == 0
    images = np.zeros((2, 3, 112, 112), np.float32)
    assert onnxruntime.InferenceSession(path).run(None, {"images": images})[0].shape == (2, 8)


def test_the_command_line_does_not_know_it(tmp_path: Path) -> None:
    given = ["--data", faces(tmp_path / "faces"), "--output", tmp_path / "run"]
    said = refusal("train", "--backbone", "small", *given)
    assert said.startswith("unknown backbone 'small'")
    assert "marginface.backbones.register_backbone" in said


REGISTER = """
import my_losses
from marginface.data.formats.registry import IMAGE_SETS
from tar_faces import open_tar

IMAGE_SETS.register("a .tar", open_tar, ".tar")
"""


@pytest.mark.slow
def test_several_processes_know_what_ones_own_program_registers(
    framework: Framework, tmp_path: Path
) -> None:
    """A backbone, a loss and a format of one's own, in one command for either framework."""
    program, start = tmp_path / "my_backbones.py", "if __name__ =="
    program.write_text(PROGRAM.replace(start, REGISTER + start))
    write_example(tmp_path)
    shutil.copy(tar_faces.__file__, tmp_path)
    data = tar_faces.tarred(faces(tmp_path / "faces"), tmp_path / "faces.tar")
    command = [sys.executable, program, "train", "--backend", framework.name, "--data", data]
    own = ["--backbone", "small", "--loss", "easy_cosface", "--processes", 2]
    rest = ["--output", tmp_path / "run", "--embedding-size", 8, "--batch-size", 4]
    subprocess.run([*map(str, [*command, *own, *rest, "--max-steps", 2])], check=True, timeout=300)
    record = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert record["sessions"][0]["processes"] == 2


@pytest.mark.usefixtures("torch")
def test_no_layer_takes_the_name_of_an_attribute() -> None:
    made = load_backend("torch").create_backbone("mbf")
    parts = {part for name, _ in made.named_modules() for part in name.split(".")}
    public = {name for name in dir(made) if not name.startswith("_")} - parts
    assert public <= RESERVED


def test_the_page_has_every_layer_and_network() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert [row for row in rows if row[0].isupper()] == [kind.__name__ for kind in layers.KINDS]
    assert NETWORKS
    assert set(NETWORKS) <= set(re.findall(r"`(\w+)`", PAGE))
