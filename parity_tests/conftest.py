"""Backends as fixtures: every case runs in each framework that is installed."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Importlib mode puts no folder on the path, and tests share helpers.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
sys.path.insert(0, str(Path(__file__).parent))

import frameworks
from frameworks import FRAMEWORKS, Framework, installed, require_some

# The same cases each time, however slow the machine is.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let parity be tested on another device than the CPU: workers and processes inherit it."""
    parser.addoption("--device", default=None, help="what computes: cpu (default), cuda, cuda:1")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the device before a framework is imported."""
    frameworks.use(config.getoption("--device") or frameworks.DEVICE)


def pytest_collection_modifyitems() -> None:
    """Parity that was tried on nothing is no parity."""
    require_some(installed())


@pytest.fixture(params=list(FRAMEWORKS))
def framework(request: pytest.FixtureRequest) -> Framework:
    """One framework after the other."""
    return _get(request.param)


@pytest.fixture
def torch() -> Framework:
    """PyTorch, for tests that compare the two."""
    return _get("torch")


@pytest.fixture
def tf() -> Framework:
    """TensorFlow, for tests that compare the two."""
    return _get("tf")


@pytest.fixture
def eagerly(tf: Framework) -> Iterator[None]:
    """Some steps of a small network are over long before TensorFlow has traced its graph."""
    tf.tf.config.run_functions_eagerly(True)
    yield
    tf.tf.config.run_functions_eagerly(False)


@cache  # what tests keep of a framework, they find again
def _get(name: str) -> Framework:
    if name not in installed():
        pytest.skip(f"backend {name} is not installed: pip install 'marginface[{name}]'")
    return FRAMEWORKS[name]()
