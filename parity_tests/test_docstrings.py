"""The examples in docstrings are true, in the core and in every backend that is installed."""

import doctest
import pkgutil
from importlib import import_module

import pytest
from frameworks import installed

from marginface import losses

PACKAGES = ["marginface", *(f"marginface_{name}" for name in installed())]


def failures(package: str) -> int:
    """Run a package's examples, of which there must be some; doctest prints those that fail."""
    modules = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
    results = [doctest.testmod(import_module(module.name)) for module in modules]
    assert sum(result.attempted for result in results) > 0
    return sum(result.failed for result in results)


@pytest.mark.parametrize("package", PACKAGES)
def test_examples(package: str) -> None:
    assert failures(package) == 0


def test_a_false_example_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses.get, "__doc__", ">>> 1 + 1\n3\n")
    assert failures("marginface.losses") + doctest.testmod(losses).failed == 1
