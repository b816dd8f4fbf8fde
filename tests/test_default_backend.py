"""The backend of those who name none: the one that is installed, torch of both."""

from __future__ import annotations

import onnx
import pytest
import yaml
from fresh import blocking, python, run_without

from marginface import backbones
from marginface.backend import default_backend, installed_backends

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
