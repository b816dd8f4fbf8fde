"""The list of mutants follows the code: each finds, in each backend, the text that it changes."""

import inspect

import pytest
from frameworks import Framework
from mutations import MUTANTS


@pytest.mark.parametrize("number", range(len(MUTANTS)))
def test_a_mutant_finds_its_line(framework: Framework, number: int) -> None:
    file, old, new = MUTANTS[number].of(framework.name)
    source = inspect.getsource(framework.module(file))
    assert old in source
    assert source.replace(old, new) != source
