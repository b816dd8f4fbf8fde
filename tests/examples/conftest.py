"""Examples are run as a user runs them: from their files, with nothing but what stands there."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import small_network

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import an example, as Python would find what lies beside a script."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(params=["small", pytest.param("its own", marks=pytest.mark.slow)])
def trained_example(
    request: pytest.FixtureRequest, example: Callable[[str], ModuleType]
) -> Callable[[str], ModuleType]:
    """Import an example that trains: quickly a small network, slowly its own."""

    def load(name: str) -> ModuleType:
        module = example(name)
        if request.param == "small":
            create = module.create_backbone

            def small(_: str, *given: Any, **options: Any) -> Any:
                return create(small_network.NAME, *given, **options)

            module.create_backbone = small
        return module

    return load
