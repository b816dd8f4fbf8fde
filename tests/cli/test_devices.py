"""`--device` and `--provider`: every command that computes has them, and says what there is."""

import pytest
import typer

from marginface.backend import installed_backends
from marginface.cli.app import app
from marginface.onnx.providers import available_providers

BENCHES = ("bench losses", "bench heads", "bench step", "bench export")
FRAMEWORK = {"train", *BENCHES, "parity", "demo"}
MODELS = {"embed", "evaluate", "calibrate", "compare", "identify", "report", "clean"}
ONNX = {"bench export", "data align"}
ABSENT = "cuda:7"


def commands(command, *path):
    """Return the options of each command, by its name."""
    if not hasattr(command, "resolve_command"):
        return {" ".join(path): {name for each in command.params for name in each.opts}}
    context = command.make_context("marginface", [], resilient_parsing=True)
    found = {}
    for name in command.list_commands(context):
        found |= commands(command.resolve_command(context, [name])[1], *path, name)
    return found


def test_the_commands_that_compute_have_them():
    given = commands(typer.main.get_command(app))
    assert {name for name in given if "--device" in given[name]} == FRAMEWORK | MODELS
    assert {name for name in given if "--provider" in given[name]} == MODELS | ONNX


@pytest.mark.parametrize("command", [*BENCHES, "parity", "demo"])
def test_a_device_that_is_not_there(refusal, tmp_path, command):
    if not installed_backends():
        pytest.skip("no framework is installed")
    output = () if command == "parity" else ("--output", tmp_path / "out")
    message = refusal(*command.split(), "--device", ABSENT, *output)
    assert f"device {ABSENT} is not there" in message
    assert "sees cpu" in message
    assert not list(tmp_path.iterdir())


def test_a_provider_that_is_not_there(refusal):
    assert "tensorrt" not in available_providers()
    message = refusal(
        "bench", "export", "--provider", "tensorrt", "--backend", installed_backends()[0]
    )
    assert "no provider 'tensorrt'" in message
