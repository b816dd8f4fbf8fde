"""The benchmarks, which no test runs: what they import from here exists."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
BENCHMARKS = REPOSITORY / "benchmarks"
ROOTS = [BENCHMARKS, *(REPOSITORY / name for name in ("core", "torch_impl", "tf_impl"))]


def source(module: str) -> Path | None:
    """Return the file or folder of a module of this repository; None for other packages."""
    for root in ROOTS:
        path = root.joinpath(*module.split("."))
        for place in (path.with_suffix(".py"), path):
            if place.exists():
                return place
    return None


@cache
def defined(path: Path) -> set[str]:
    """List what a module defines or imports at any depth, and the modules of a package."""
    if path.is_dir():
        return {each.stem for each in path.iterdir()} | defined(path / "__init__.py")
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # of `__all__`, where names are loaded when they are asked for
    return names


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_benchmarks_import_exists(path):
    missing = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            place = source(node.module)
            if place is None:
                assert not node.module.startswith("marginface"), node.module
                continue
            missing += [
                f"{node.module}.{n.name}" for n in node.names if n.name not in defined(place)
            ]
    assert not missing


@pytest.mark.parametrize(
    "parts", ["head-100k", pytest.param("", marks=pytest.mark.slow)], ids=["head", "all"]
)
def test_what_a_gpu_measures_can_be_tried_without_one(parts, tmp_path):
    pytest.importorskip("torch")
    script, out = BENCHMARKS / "gpu.py", tmp_path / "gpu"
    command = [sys.executable, script, out, "--device", "cpu", "--tiny", "--parts", parts]
    for _ in range(1 if parts else 2):  # what is there stays
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stdout
        assert "stopped" not in done.stdout
        times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
        assert not parts or list(times) == ["head-100k.json"]
        if "done" in done.stdout:
            first = times
    assert times == first
    page = (out / "README.md").read_text("utf-8")
    assert "| ours, bfloat16, SGD in the backward pass | " in page
    measured = json.loads((out / "head-100k.json").read_text("utf-8"))
    assert measured["off"]["ours, bfloat16"] < 0.03
    assert len(measured["steps"]["dense, float32, SGD"]["seconds"]) == 1


def test_a_gpu_that_is_not_there(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    command = [sys.executable, BENCHMARKS / "gpu.py", tmp_path / "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no GPU that PyTorch can use; --device cpu --tiny")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "tf"])
@pytest.mark.parametrize("script", ["train.py", "train_step.py"])
def test_training_takes_turns_with_a_plain_loop(script, backend, tiny_faces, tmp_path):
    pytest.importorskip({"torch": "torch", "tf": "tensorflow"}[backend])
    out = tmp_path / "times.json"
    command = [sys.executable, BENCHMARKS / script, "--backend", backend, "--output", out]
    command += ["--backbones", "mobilefacenet", "--batch", 4, "--rounds", 2, "--no-compiled"]
    command += ["--data", tiny_faces, "--steps", 1] if script == "train.py" else ["--repeats", 1]
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds = json.loads(out.read_text("utf-8"))["seconds"]["mobilefacenet"]
    assert {"plain", "marginface"} <= set(seconds)
    assert all(len(turns) == 2 and min(turns) > 0 for turns in seconds.values())
    if script == "train.py":
        assert "bare step" in done.stdout
        assert "trainer's own" in done.stdout
