"""The backend of those who name none: the one that is installed, torch of both."""

from __future__ import annotations

from importlib import import_module

import onnx
import pytest
import yaml
from fresh import blocking, python, run_without

from marginface import backbones
from marginface.backend import default_backend, installed_backends
from marginface.errors import MissingPackageError
from marginface.model import ModelSpec
from marginface.training import preparation
from marginface.training.config.keys import TrainConfig

CONFIG = """
from marginface.training.config.files import config_text
from marginface.training.config.keys import TrainConfig
print(config_text(TrainConfig(data="faces", output="run")))
"""
FRAMEWORKS = {"torch": ("torch",), "tf": ("tensorflow", "keras")}


def test_torch_of_both() -> None:
    if len(installed_backends()) < 2:
        pytest.skip("needs both frameworks")
    assert default_backend() == "torch"


@pytest.mark.parametrize(("name", "other"), [("torch", "tf"), ("tf", "torch")])
def test_a_run_records_the_one_that_is_installed(name, other) -> None:
    if name not in installed_backends():
        pytest.skip(f"needs {FRAMEWORKS[name][0]}")
    written = python(blocking(*FRAMEWORKS[other]) + CONFIG)
    assert yaml.safe_load(written.stdout)["backend"] == name, written.stderr


def test_weights_are_exported_by_the_one_that_is_installed(tmp_path) -> None:
    if "tf" not in installed_backends():
        pytest.skip("needs tensorflow")
    path, output = tmp_path / "weights.safetensors", tmp_path / "model.onnx"
    graph = backbones.describe("mobilefacenet", 16)
    backbones.write_weights(path, backbones.initial_weights(graph, 0))
    weights = f"export --weights {path} --backbone mobilefacenet --embedding-size 16"
    ((status, out, err),) = run_without(["torch"], [f"{weights} --output {output}"])
    assert status == 0, err
    assert "agrees with tensorflow" in out
    stored = {each.key: each.value for each in onnx.load(output).metadata_props}
    assert stored["source"].startswith("tensorflow")


@pytest.mark.parametrize("backend", ["torch", "tf"])
def test_a_run_of_an_absent_framework_is_exported_by_the_other(monkeypatch, backend) -> None:
    module = import_module("marginface.api.export_sources")
    monkeypatch.setattr(module, "installed_backends", lambda: ["tf"])
    network = module.Network(ModelSpec("mbf", 8), {}, {"backend": backend})
    assert network.checking_backend() == (backend if backend == "tf" else None)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_of_an_absent_framework_may_go_on_in_the_other(monkeypatch, resume) -> None:
    def absent(name: str) -> None:
        raise MissingPackageError(f"backend '{name}' needs {name}")

    config = TrainConfig(data="faces", output="run", backend="torch")
    monkeypatch.setattr(preparation, "load_backend", absent)
    monkeypatch.setattr(preparation, "installed_backends", lambda: ["tf"])
    with pytest.raises(MissingPackageError) as caught:
        preparation._load_backend(config, resume=resume)
    assert str(caught.value).endswith("framework: --backend tf") is resume


def test_without_any_both_commands_are_named(tmp_path) -> None:
    faces, new, weights = (tmp_path / name for name in ("faces", "new", "weights.safetensors"))
    faces.mkdir()
    backbones.write_weights(
        weights, backbones.initial_weights(backbones.describe("mobilefacenet", 16), 0)
    )
    commands = [
        f"train --data {faces} --output {new}",
        f"demo --output {new}",
        f"export --weights {weights} --backbone mobilefacenet --embedding-size 16 "
        f"--output {new}.onnx",
        "parity",
        "bench losses",
    ]
    absent = [package for each in FRAMEWORKS.values() for package in each]
    for command, (status, _, err) in zip(commands, run_without(absent, commands), strict=True):
        assert status == 2, command
        assert "pip install 'marginface[torch]', or 'marginface[tf]'" in err, command
    assert not new.exists()
    assert not new.with_suffix(".onnx").exists()
