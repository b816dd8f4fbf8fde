"""The list of mutants follows the code: each finds the text that it changes."""

import importlib
import inspect
from types import ModuleType

import pytest
from core_mutations import CORE, ONNX
from frameworks import Framework
from mutations import MUTANTS

from marginface.backbones.layers import KINDS
from marginface.onnx.layers import LAYERS, same


def assert_changes(module: ModuleType, old: str, new: str) -> None:
    source = inspect.getsource(module)
    assert old in source
    assert source.replace(old, new) != source


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_a_mutant_finds_its_line(framework: Framework, number: int) -> None:
    file, old, new = MUTANTS[number].of(framework.name)
    assert_changes(framework.module(file), old, new)


@pytest.mark.parametrize("number", range(len(CORE)))
def test_a_mutant_of_the_core_finds_its_line(number: int) -> None:
    file, old, new = CORE[number].of("core")
    assert_changes(importlib.import_module(f"marginface.{file}"), old, new)


def test_every_reference_and_every_layer_of_onnx_has_a_mutant() -> None:
    files = {f"marginface.{mutant.file}" for mutant in CORE}
    assert {kind.__module__ for kind in KINDS} <= files
    changed = [mutant.of("core")[1] for mutant in CORE if mutant.file == ONNX]
    for write in set(LAYERS.values()) - {same}:
        assert any(old in inspect.getsource(write) for old in changed), write.__name__
