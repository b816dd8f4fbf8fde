"""The pages on concepts say what docs/pictures finds, and show what it draws."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "concepts"
LARGEST = 150_000  # bytes of a picture
SLOW = {"plane.jpg"}  # which trains
NUMBERS = json.loads((FOLDER / "numbers.json").read_text("utf-8"))
DRAWING = NUMBERS.pop("drawing")
STATED = {key: value for each in NUMBERS.values() for key, value in each.items()}


@pytest.fixture(scope="module")
def pictures() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("pictures")


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
                assert picture.width == round(
                    pictures.panel.WIDTH * 150
                )  # twice a phone's 390 pixels


def test_pages_state_the_numbers() -> None:
    for page, numbers in NUMBERS.items():
        text = (FOLDER / page).read_text("utf-8")
        missing = {name: value for name, value in numbers.items() if value not in text}
        assert not missing, f"{page} states other numbers: run docs/pictures and read the page"


def found(pictures: ModuleType, names: set[str]) -> dict[str, str]:
    draws = [
        draw for each in pictures.PICTURES.values() for name, draw in each.items() if name in names
    ]
    return {key: value for draw in draws for key, value in draw()[1].items()}


def test_the_numbers_are_those_of_the_code(pictures: ModuleType) -> None:
    names = {name for each in pictures.PICTURES.values() for name in each} - SLOW
    assert found(pictures, names).items() <= STATED.items()


@pytest.mark.slow
def test_the_numbers_of_training_are_those_of_the_code(pictures: ModuleType) -> None:
    assert found(pictures, SLOW).items() <= STATED.items()


def test_the_faces_embedded_are_those_drawn(pictures: ModuleType) -> None:
    message = "faces are drawn in another way: embed them anew, see docs/pictures"
    assert pictures.people.drawing() == pytest.approx(DRAWING, abs=0.5), message
