"""Where Python's UTF-8 is off, the system gives good names as bytes: every file is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_model

from marginface import text
from marginface.training.config.files import config_text, read_config_file, resolve_config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names that others refuse")

NAMES = (
    *("José".encode(), b"Jos\xe9", "Νίκος".encode(), "Νίκος".encode("iso-8859-7"), b"ann"),
    *("José".encode()[:-1], "Jose\u0301x".encode(), "\U0001f600".encode()),
)
OFF = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} | {
    "PYTHONIOENCODING": "ascii:strict"
}
PAIRS = ("--images", "split/validation", "--pairs", "split/pairs.txt")
SEARCH = ("--gallery", "split/train", "--probes", "split/validation")
COMMANDS = [
    ("data", "pack", "José", "Jo.rec"),
    ("data", "split", "José", "--output", "split", "--fraction", "0.5", "--pairs", "20"),
    ("data", "split", "Jo.rec", "--output", "parts", "--fraction", "0.5", "--pairs", "20"),
    ("data", "pack", "parts/pairs.zip", "folder"),
    ("data", "pack", "Jo.rec", "back"),
    ("data", "subset", "José", "few", "--identities", "3"),
    ("data", "inspect", "José", "Jo.rec", "--json", "found.json"),
    ("embed", "--model", "é.onnx", "--images", "José", "--output", "é.parquet"),
    ("embed", "--model", "é.onnx", "--images", "Jo.rec", "--output", "e.npz"),
    ("evaluate", "--model", "é.onnx", "--model", "a.onnx", *PAIRS, "--output", "été"),
    ("identify", "--embeddings", "é.parquet", *SEARCH, "--output", "ranks"),
]
RUN = """
import json, os, sys
from marginface.cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv[:] = ["marginface", *(os.fsdecode(part.encode()) for part in command)]
    try:
        main()
    except SystemExit as left:
        assert left.code in (0, None), command
"""


def files_of(environment: dict[str, str], folder: Path) -> dict[str, bytes]:
    """Run the commands on eight people; return all that they wrote."""
    root = os.fsencode(folder / "José")
    rng = np.random.default_rng(0)
    for name in NAMES:
        os.makedirs(root + b"/" + name)  # noqa: PTH103 - paths of bytes
        for number in range(4):
            image = Image.fromarray(rng.integers(0, 256, (112, 112, 3), np.uint8))
            with open(root + b"/%s/%s%d.png" % (name, name, number), "wb") as file:  # noqa: PTH123
                image.save(file, "PNG")
    for name in ("é", "a"):
        save_model(folder / f"{name}.onnx")
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(COMMANDS)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".index"
    }


def test_every_file_is_the_same(tmp_path):
    found = []
    for name, environment in (("on", {"PYTHONUTF8": "1"}), ("off", OFF)):
        (tmp_path / name).mkdir()
        found.append(files_of(environment, tmp_path / name))
    on, off = found
    assert on.keys() == off.keys()
    assert [name for name in on if on[name] != off[name]] == []
    assert "été/é/pairs/metrics.json" in on


def test_a_configuration_is_the_same(tmp_path, monkeypatch):
    values = {"data": (Path("José"), Path("Jos\udce9")), "output": Path("réun")}
    expected = config_text(resolve_config({}, values))

    def decoded(path: str | bytes) -> str:
        content = path if isinstance(path, bytes) else path.encode("ascii", "surrogateescape")
        return content.decode("ascii", "surrogateescape")

    monkeypatch.setattr(text.os, "fsencode", lambda path: path.encode("ascii", "surrogateescape"))
    monkeypatch.setattr(text.os, "fsdecode", decoded)
    system = {
        name: type(value)(map(as_bytes, value)) if isinstance(value, tuple) else as_bytes(value)
        for name, value in values.items()
    }
    config = resolve_config({}, system)
    assert config_text(config) == expected
    (tmp_path / "c.yaml").write_text(expected, encoding="utf-8")
    read = resolve_config(read_config_file(tmp_path / "c.yaml"), {})
    assert (read.data, read.output) == (system["data"], system["output"])


def as_bytes(path: Path) -> Path:
    return Path(str(path).encode(errors="surrogateescape").decode("ascii", "surrogateescape"))
