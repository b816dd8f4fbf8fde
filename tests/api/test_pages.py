"""Every public name has a place on the pages of docs/api, and every place there has a name."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import marginface
from marginface import backbones, losses
from marginface.losses.registry import BUILT_IN

ROOT = Path(__file__).parents[2]
PAGES = "".join(page.read_text("utf-8") for page in sorted((ROOT / "docs/api").glob("*.md")))
PLACES = re.findall(r"^::: ([\w.]+)$", PAGES, re.M)


def public(path: str) -> list[str]:
    """Return the names in a module's __all__, without importing it: frameworks may be missing."""
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise AssertionError(path)


def test_every_public_name_is_on_a_page() -> None:
    names = [f"marginface.{name}" for name in marginface.__all__]
    names += [f"marginface.losses.{name}" for name in losses.__all__]
    names += [f"marginface.backbones.{name}" for name in backbones.__all__]
    for package in ("torch_impl/marginface_torch", "tf_impl/marginface_tf"):
        names += [f"{Path(package).name}.{each}" for each in public(f"{package}/__init__.py")]
    modules = {"marginface.losses", "marginface.backbones", "marginface.__version__"}
    of_text = {"marginface_torch.name", "marginface_tf.name"}
    places = {*PLACES, "marginface.backbones.layouts"}  # which is also the file that it is in
    assert {*names} - modules - of_text <= places
    for loss in BUILT_IN.values():
        assert f"`losses.{loss.__name__}`" in PAGES


@pytest.mark.parametrize("place", [place for place in PLACES if place.startswith("marginface.")])
def test_every_name_on_a_page_is_there(place: str) -> None:
    module, _, name = place.rpartition(".")
    assert hasattr(import_module(module), name)


def test_no_name_has_two_places() -> None:
    assert len({*PLACES}) == len(PLACES)
