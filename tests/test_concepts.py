"""The pages on concepts say what docs/pictures.py finds, and show what it draws."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "concepts"
LARGEST = 150_000  # bytes of a picture
SLOW = {"plane.jpg"}  # which trains


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_pages_show_the_pictures_that_the_script_draws(pictures: ModuleType) -> None:
    shown = {
        page.name: re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page.read_text("utf-8"))
        for page in FOLDER.glob("*.md")
    }
    named = {page: [name for _, name in each] for page, each in shown.items() if each}
    assert named == {page: list(each) for page, each in pictures.PICTURES.items()}
    assert all(len(text) > 60 for each in shown.values() for text, _ in each)  # for those who hear
    held = {path.name for kind in ("*.png", "*.jpg") for path in FOLDER.glob(kind)}
    assert held == {name for each in named.values() for name in each}


def test_pictures_are_small_and_wide_enough_for_a_phone(pictures: ModuleType) -> None:
    for each in pictures.PICTURES.values():
        for name in each:
            assert (FOLDER / name).stat().st_size < LARGEST
            with Image.open(FOLDER / name) as picture:
                assert picture.width == round(pictures.WIDTH * 150)  # twice a phone's 390 pixels


def test_pages_state_the_numbers() -> None:
    numbers = json.loads((FOLDER / "numbers.json").read_text("utf-8"))
    for page, stated in numbers.items():
        text = (FOLDER / page).read_text("utf-8")
        missing = {name: value for name, value in stated.items() if value not in text}
        assert not missing, f"{page} states other numbers: run docs/pictures.py and read the page"


def found(pictures: ModuleType, names: set[str]) -> dict[str, str]:
    draws = [
        draw for each in pictures.PICTURES.values() for name, draw in each.items() if name in names
    ]
    return {key: value for draw in draws for key, value in draw()[1].items()}


def test_the_numbers_are_those_of_the_code(pictures: ModuleType) -> None:
    names = {name for each in pictures.PICTURES.values() for name in each} - SLOW
    assert found(pictures, names).items() <= stated().items()


@pytest.mark.slow
def test_the_numbers_of_training_are_those_of_the_code(pictures: ModuleType) -> None:
    assert found(pictures, SLOW).items() <= stated().items()


def stated() -> dict[str, str]:
    numbers = json.loads((FOLDER / "numbers.json").read_text("utf-8"))
    return {key: value for each in numbers.values() for key, value in each.items()}
