"""Ctrl-C, whenever it comes: one line, status 130."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

STOPPED = "marginface: stopped by Ctrl-C\n"
PYTHON = 0.15  # seconds: what Python itself takes to start, which is not ours to guard

CTRL_C_AT_AN_IMPORT = """
import importlib.abc, signal, sys, time

class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            {how}

def stop():
    signal.raise_signal(signal.SIGINT)
    time.sleep(0)

def stop_with(error):
    try:
        stop()
    except KeyboardInterrupt:
        raise error

class StopAtEnd:
    def __del__(self):
        stop()

sys.meta_path.insert(0, Stop())
sys.argv = ["marginface", *{command}]
from marginface.cli.main import main
main()
"""
PARITY = ["parity", "--loss", "normface", "--backend"]


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
    monkeypatch.setattr("marginface.api.embed.embed_folder", stop)
    monkeypatch.setattr("marginface.api.embed.open_by_name", lambda *_, **__: None)
    opened = SimpleNamespace(embedder=None)
    monkeypatch.setattr("marginface.api.embed.open_model", lambda *_, **__: opened)
    output = tmp_path / "e.npz"
    status, _, err = cli("embed", "--model", "m.onnx", "--images", "faces", "--output", output)
    assert status == 130
    assert "the same command goes on from there" in err


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("command", "function", "partial"),
    [
        (["pack", "faces", "out"], "packing.conversion.convert", ".out.partial"),
        (
            ["align", "faces", "out", "--landmarks", "a"],
            "photos.photos.align_photos",
            "out.partial",
        ),
    ],
)
def test_data_commands_say_how_to_go_on(
    cli, monkeypatch, tmp_path: Path, command: list[str], function: str, partial: str, kept: bool
) -> None:
    def work(*_: object, **__: object) -> None:
        if kept:
            (tmp_path / partial).mkdir()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"marginface.data.{function}", work)
    monkeypatch.setattr("marginface.cli.data.align._face_source", lambda *_: None)
    status, _, err = cli("data", *command)
    assert (status, "the same command goes on from there" in err) == (130, kept)
    assert err.endswith(STOPPED)


@pytest.mark.parametrize(
    ("module", "command", "how"),
    [
        ("marginface.cli.app", ["--version"], "stop()"),
        ("typer", ["--version"], "stop()"),
        ("marginface.cli.losses", ["losses"], "stop()"),
        ("numpy", ["losses", "arcface"], "stop()"),
        ("torch", [*PARITY, "torch"], "stop()"),
        ("tensorflow", [*PARITY, "tf"], "stop()"),
        # Some code takes whatever ends an import for a missing package.
        ("torch", [*PARITY, "torch"], "stop_with(ImportError(name))"),
        # Python drops what a destructor raises.
        ("numpy", ["losses", "arcface"], "StopAtEnd()"),
    ],
)
def test_ctrl_c_at_an_import(module: str, command: list[str], how: str) -> None:
    pytest.importorskip(module.partition(".")[0])
    code = CTRL_C_AT_AN_IMPORT.format(module=module, command=command, how=how)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", STOPPED)


SCRIPT = str(Path(sys.executable).with_name("marginface"))


@pytest.mark.parametrize("start", [[sys.executable, "-m", "marginface"], [SCRIPT]])
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.3])
def test_ctrl_c_at_a_moment(start: list[str], seconds: float, tmp_path: Path) -> None:
    command = [*start, "bench", "losses", "--losses", "normface", "--rounds", "90000"]
    wait = PYTHON + seconds
    while True:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        if said and "site" not in said and "argv[0]" not in said:
            break
        wait += 0.2  # on a busy machine that was Python's own start
    assert (process.returncode, said) == (130, STOPPED)
