"""The benchmarks, which no test runs: what they import from here exists."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

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


# All that PyTorch itself needs; marginface is not installed either.
BARE = """
import sys

BARE = {"torch", "torchgen", "functorch", "numpy", "triton", "nvidia"}
BARE |= {"sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock"}
BARE |= {"typing_extensions", "setuptools"}


class Bare:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        spec = self.finder.find_spec(name, path, target)
        foreign = spec is not None and "site-packages" in str(spec.origin or spec.loader)
        return None if foreign and name.partition(".")[0] not in BARE else spec

    def find_distributions(self, context):
        return iter(())


sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
sys.path[:] = [each for each in sys.path if not each.endswith(("core", "_impl"))]
"""


@pytest.mark.slow
def test_a_checkout_with_pytorch_alone_is_enough_for_a_gpu(tmp_path):
    """Heads and steps are measured; what needs more says what is missing."""
    pytest.importorskip("torch")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BARE)
    environment = os.environ | {"PYTHONPATH": str(site)}
    for package in ("PIL", "typer", "marginface"):
        tried = [sys.executable, "-c", f"import {package}"]
        assert subprocess.run(tried, capture_output=True, check=False, env=environment).returncode
    out, parts = tmp_path / "gpu", "head-100k,step-iresnet50-128-full,loader,onnx,parity"
    command = [sys.executable, BENCHMARKS / "gpu.py", out, "--device", "cpu", "--tiny"]
    done = subprocess.run(
        [*command, "--parts", parts], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    for name in ("head-100k", "step-iresnet50-128-full", "parity"):
        assert f"{name}: done" in done.stdout, done.stdout
    assert "loader: skipped: " in done.stdout
    assert "onnx: skipped: this needs onnxruntime, which is not installed" in done.stdout
    assert "a run there and back: skipped: No module named 'PIL'" in done.stdout
    left = {path.stem for path in out.glob("*.json")}
    assert left == {"head-100k", "step-iresnet50-128-full", "parity"}


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


class Memory:
    """A GPU's counters, and tensors that count."""

    def __init__(self):
        self.live = self.most = 0

    def counters(self):
        """Return what stands for torch.cuda."""
        return SimpleNamespace(
            memory_allocated=lambda _: self.live,
            max_memory_allocated=lambda _: self.most,
            reset_peak_memory_stats=lambda _: setattr(self, "most", self.live),
            synchronize=lambda _: None,
            empty_cache=lambda: None,
        )

    def tensor(self, size):
        return _Tensor(self, size)


class _Tensor:
    def __init__(self, memory, size):
        self.memory, self.size = memory, size
        memory.live += size
        memory.most = max(memory.most, memory.live)

    def __del__(self):
        self.memory.live -= self.size


@pytest.mark.usefixtures("gpu")
def test_peaks_are_of_a_step_alone(monkeypatch, capsys):
    """Not less the gradient that the last rival left, nor with what stays from step to step."""
    timing, memory = importlib.import_module("gpu_timing"), Memory()
    monkeypatch.setattr(timing.torch, "cuda", memory.counters())
    held = {}

    def dense(name, inside, slot=0):
        def step():
            held.pop("gradient", None)
            logits = memory.tensor(inside)
            held["gradient"] = memory.tensor(2000)
            del logits
            if slot and name not in held:
                held[name] = memory.tensor(slot)

        return step

    def stepping():
        held.pop("gradient", None)
        memory.tensor(300)

    def too_large():
        held["gradient"] = memory.tensor(2000)
        raise timing.torch.OutOfMemoryError

    rivals = {
        "ours": dense("ours", 300),
        "dense": dense("dense", 8000),
        "stepping": stepping,
        "too large": too_large,
        "with momentum": dense("with momentum", 8000, slot=2000),
    }
    result = {}
    timing.measure(
        *(result, "steps", rivals, SimpleNamespace(type="cuda")),
        rounds=3,
        clear=lambda: held.pop("gradient", None),
    )
    found = {name: each.get("bytes", each.get("failed")) for name, each in result["steps"].items()}
    assert found == {
        "ours": 2300,
        "dense": 10000,
        "stepping": 300,
        "too large": "out of memory",
        "with momentum": 10000,
    }
    assert len(result["steps"]["stepping"]["seconds"]) == 3
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1] == result
    assert list(told[0]["steps"]) == ["ours"]


def test_what_a_part_found_before_its_time_was_up_is_kept(gpu, monkeypatch, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "print('{\"steps\": 1}')\n"
        "print('{\"steps\": 2}')\n"
        "print('{\"steps\": 3', end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    path, measured = tmp_path / "slow.json", {"card": "one", "sizes": {"batch": [8]}}
    assert gpu.run("slow", "cpu", path, measured, 3.0) == "stopped after 3 s"
    record = json.loads(path.read_text("utf-8"))
    assert record["steps"] == 2
    assert record["incomplete"] == "stopped after 3 s"
    assert not gpu.is_there(path, measured)
    del record["incomplete"]
    path.write_text(json.dumps(record))
    assert gpu.is_there(path, measured)
    assert not gpu.is_there(path, measured | {"card": "another"})
    assert not gpu.is_there(path, measured | {"sizes": {"batch": [16]}})
    assert not gpu.is_there(tmp_path / "other.json", measured)


def test_the_page_says_what_each_figure_is_from(gpu, tmp_path):
    def write(name, card, batch, **figures):
        record = {"card": card, "sizes": {"batch": batch}} | figures
        (tmp_path / f"{name}.json").write_text(json.dumps(record))

    def steps(seconds):
        return {"ours": {"bytes": None, "seconds": [seconds]}, "plain": {"bytes": 5}}

    write("head-1M", "a small card", 8, gradients=steps(1.0), incomplete="stopped after 3 s")
    write("step-iresnet50-128", "a large card", 128, steps=steps(0.5))
    write("step-iresnet50-256", "a large card", 256, steps=steps(0.5))
    write("loader", "a large card", 256, **{"images/s": {"folder": 600.0, ".rec": 768.0}})
    small, large = gpu.tables(tmp_path, []).split("## a large card")
    assert "## a small card" in small
    assert "batch 8. Not complete: stopped after 3 s" in small
    assert "| plain | not timed | | | |" in small
    assert "loader" not in small
    assert (
        "The loader at its best, .rec, gives 768 images/s: 1.50 times the 512 of the fastest step, "
        "step-iresnet50-256, ours."
    ) in large


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


@pytest.mark.slow
def test_networks_take_turns_with_iresnet50(tmp_path):
    """Rows of the same settings stay; of other settings they go."""
    for package in ("torch", "tensorflow", "onnxruntime"):
        pytest.importorskip(package)
    out, settings = tmp_path / "speed.json", ["--batch", "1", "--rounds", "2"]
    for name, side in (("edgeface_xxs", "32"), ("mobilefacenet", "32"), ("mobilefacenet", "48")):
        command = [sys.executable, BENCHMARKS / "networks.py", out, "--backbones", name]
        done = subprocess.run(
            [*command, *settings, "--side", side], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        times = json.loads(out.read_text("utf-8"))["times"]
        kept = {"edgeface_xxs", name} if side == "32" else {name}
        assert set(times) == kept
        for median, least, most in times[name].values():
            assert 0 < least <= median <= most
    assert list(times[name]) == ["onnx", "torch", "tf"]


@pytest.fixture
def noise(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("noise")


def test_a_share_of_the_images_goes_to_somebody_else(noise, tiny_faces, tmp_path):
    train = tmp_path / "train"
    shutil.copytree(tiny_faces, train)
    (train / ".marginface").write_text("what `data split` leaves, and nobody")
    assert noise.flipped(train, 0.0, 0, tmp_path) == train
    folders = [noise.flipped(train, 0.25, seed, tmp_path) for seed in (0, 1, 0)]
    assert folders[0] == folders[2] != folders[1]
    drawn = []
    for folder in folders[:2]:
        images = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))
        people = [(path.split("/")[0], path.split("/")[1].split("--")[0]) for path in images]
        wrong = {image for image, (now, then) in zip(images, people, strict=True) if now != then}
        assert len(images) == 24
        assert {now for now, _ in people} <= {f"person_{i}" for i in range(3)}
        assert len(wrong) == 6
        drawn.append(wrong)
    assert drawn[0] != drawn[1]


def test_noise_is_a_whole_percent(noise, tmp_path):
    for share in (0.125, 1.0, -0.1):
        with pytest.raises(Exception, match="expected 0 or a whole percent below 1"):
            noise.main(tmp_path, tmp_path / "runs", noise=[share])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_noise_goes_on_where_it_was_stopped(tiny_faces, pairs_file, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    runs = tmp_path / "runs"
    parts = runs / "parts"
    shutil.copytree(tiny_faces, parts / "train")
    shutil.copytree(tiny_faces, parts / "validation")
    shutil.copy(pairs_file, parts / "pairs.txt")
    command = [sys.executable, BENCHMARKS / "noise.py", tmp_path, runs, "--noise", "0.25"]
    command += ["--way", "sub-centres", "--way", "arcface", "--seeds", "2", "--epochs", "1"]
    command += ["--option", "batch_size=8", "--option", "embedding_size=4"]

    def run(*more):
        wide = os.environ | {"COLUMNS": "500"}
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, check=False, env=wide
        )
        return done.returncode, done.stdout, done.stderr

    code, told, said = run()
    assert code == 0, said
    assert said.count("marginface train") == 4
    assert "Accuracy less arcface's, in points" in told
    assert "What clean finds of the wrong labels" in told
    code, tables, said = run()  # nothing is trained or measured again
    assert (code, said) == (0, "")
    assert told.endswith(tables)
    (runs / "arcface, 25% wrong, torch, 1" / "finished").unlink()
    code, again, said = run()
    assert code == 0, said
    assert again.endswith(tables)
    commands = [line for line in said.splitlines() if line.startswith("marginface")]
    assert commands == [f"marginface train --output {runs}/arcface, 25% wrong, torch, 1 --resume"]
    code, _, said = run("--option", "lr=0.2")
    assert code == 2
    assert "name a new folder" in said
