"""Losses of one's own: what is taken, what is refused and in which words."""

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
from own_losses import forgetting, write_example

from marginface import MarginfaceError, losses
from marginface.losses import Logit, MarginLoss, parameter, register, registry


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    for _ in forgetting(monkeypatch, tmp_path):
        yield tmp_path


@dataclass(frozen=True, kw_only=True)
class Own(MarginLoss):
    name: ClassVar[str] = "own"
    margin: float = parameter(0.3, low=0, below=1, help="subtracted")

    def target(self, cosine, norm, prepared):
        return Logit(cosine - self.margin, 1.0)


class Nameless(MarginLoss):
    pass


@dataclass(frozen=True, kw_only=True)
class Shouting(Own):
    name: ClassVar[str] = "Own Loss"


@dataclass(frozen=True, kw_only=True)
class Again(Own):
    name: ClassVar[str] = "arcface"


class Bare(Own):
    name: ClassVar[str] = "bare"


@dataclass(frozen=True, kw_only=True)
class Plain(Own):
    name: ClassVar[str] = "plain"
    slack: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Aimless(MarginLoss):
    name: ClassVar[str] = "aimless"


@dataclass(frozen=True, kw_only=True)
class Beyond(Own):
    name: ClassVar[str] = "beyond"
    margin: float = parameter(3.0, low=0, below=1, help="subtracted")


class Ops:
    prepare = target = negatives = reduce = penalty = print


class Lacking:
    prepare = target = negatives = reduce = print


def test_a_registered_loss_is_one_of_all():
    register(Own, torch=Ops)
    assert "own" in losses.names()
    assert losses.get("own", margin=0.5) == Own(margin=0.5)
    assert losses.parameters("own") == {"scale": 64.0, "margin": 0.3}
    assert registry.runs_in("own", "torch")
    assert not registry.runs_in("own", "tf")
    register(Own, tf=Ops)  # the other framework's code may come later
    assert registry.runs_in("own", "torch")
    assert registry.runs_in("own", "tf")
    with pytest.raises(MarginfaceError, match=r"own: margin must be in \[0, 1\), got 1"):
        losses.get("own", margin=1)


@pytest.mark.parametrize(
    ("loss", "code", "said"),
    [
        ("own", {"torch": Ops}, "derived from marginface.losses.MarginLoss, got 'own'"),
        (Own(), {"torch": Ops}, "derived from marginface.losses.MarginLoss, got Own("),
        (dict, {"torch": Ops}, "derived from marginface.losses.MarginLoss, got <class 'dict'>"),
        (Nameless, {"torch": Ops}, "Nameless has no name; give it one"),
        (Shouting, {"torch": Ops}, "Shouting has the name 'Own Loss'; give it one of small"),
        (Again, {"torch": Ops}, "the name 'arcface' is taken by marginface.losses.arcface.ArcFace"),
        (Bare, {"torch": Ops}, "write @dataclass(frozen=True, kw_only=True) above it"),
        (Plain, {"torch": Ops}, "'slack' says no default, range and meaning; declare it with"),
        (Aimless, {"torch": Ops}, "Aimless has no target(self, cosine, norm, prepared)"),
        (Beyond, {"torch": Ops}, "beyond: margin must be in [0, 1), got 3.0"),
        (Own, {}, "Own is registered without tensor code; give torch= or tf=, or both"),
        (Own, {"tf": Lacking}, "tf=Lacking, which has no penalty, is no tensor code; expected a"),
        (Own, {"torch": 5}, "torch=5 is no tensor code; expected a class derived from"),
        (Own, {"torch": "own_torch.OwnOps"}, "'own_torch.OwnOps' is no place; expected 'module:"),
    ],
)
def test_what_is_no_loss_is_refused(loss, code, said):
    before = losses.names()
    with pytest.raises(MarginfaceError) as error:
        register(loss, **code)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert losses.names() == before


def test_a_name_is_given_once():
    register(Own, torch=Ops)

    @dataclass(frozen=True, kw_only=True)
    class Other(Own):
        pass

    with pytest.raises(MarginfaceError, match="the name 'own' is taken by"):
        register(Other, torch=Ops)
    cell = type("Own", (Own,), {"__module__": Own.__module__, "__qualname__": Own.__qualname__})
    again = dataclass(frozen=True, kw_only=True)(cell)
    register(again, torch=Ops)  # a notebook's cell that runs again
    assert type(losses.get("own")) is again


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("nowhere:OwnOps", "nowhere:OwnOps, cannot be imported: there is no module nowhere"),
        ("my_losses_torch:OwnOps", "has no OwnOps"),
        ("my_losses_torch:Half", "torch=Half, which has no prepare, is no tensor code"),
    ],
)
def test_code_that_is_named_is_looked_at_when_it_is_needed(folder, code, said):
    (folder / "my_losses_torch.py").write_text("class Half:\n    target = print\n")
    sys.path.append(str(folder))
    register(Own, torch=code)
    with pytest.raises(MarginfaceError) as error:
        registry.own_code(Own, "torch")
    assert said in str(error.value)
    with pytest.raises(MarginfaceError, match="loss 'own' has no code for backend tf, only for to"):
        registry.own_code(Own, "tf")
    with pytest.raises(MarginfaceError, match="the loss Plain is not registered; call"):
        registry.own_code(Plain, "tf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("my_loses:EasyCosFace", "there is no module my_loses here or among what is installed"),
        ("my_losses:Easy", "has no Easy"),
        ("my_losses:Logit", "is no registered loss; its module should end with marginface.losses"),
        ("my_losses:", "unknown loss 'my_losses:'"),
        ("../my_losses:Easy", "unknown loss '../my_losses:Easy'"),
    ],
)
def test_places_that_hold_no_loss_are_refused(folder, text, said):
    write_example(folder)
    with pytest.raises(MarginfaceError) as error:
        losses.load(text)
    assert said in str(error.value)


def test_an_error_in_ones_own_module_is_not_hidden(folder):
    (folder / "my_losses.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        losses.load("my_losses:Own")


def test_installed_names_come_before_the_folders(folder):
    (folder / "json.py").write_text("raise SystemExit('imported from the folder')\n")
    with pytest.raises(MarginfaceError, match="has no Own"):
        losses.load("json:Own")


def test_a_package_offers_losses_by_an_entry_point(folder, monkeypatch):
    write_example(folder)
    sys.path.append(str(folder))
    offered = {
        name: EntryPoint(name, place, registry.GROUP)
        for name, place in {
            "easy_cosface": "my_losses:EasyCosFace",
            "hard_cosface": "my_losses:EasyCosFace",
        }.items()
    }
    monkeypatch.setattr(registry, "_offered", lambda: offered)
    assert "easy_cosface" in losses.names()
    assert "my_losses" not in sys.modules  # listing imports nothing
    assert losses.get("easy_cosface").name == "easy_cosface"
    with pytest.raises(MarginfaceError, match="registers no loss called 'hard_cosface'"):
        losses.get("hard_cosface")


def test_a_place_is_imported_when_it_is_loaded_and_not_before(folder):
    place = write_example(folder)
    for use in (losses.get, losses.parameters, lambda name: registry.runs_in(name, "torch")):
        with pytest.raises(MarginfaceError, match=f"give --loss {place} as well"):
            use(place)
    assert "my_losses" not in sys.modules
    assert losses.load(place).name == "easy_cosface"
    assert losses.get(place) == losses.get("easy_cosface")


def test_registering_loads_no_framework(folder):
    place = write_example(folder)
    code = (
        f"import sys; from marginface import losses; losses.load({place!r})\n"
        "print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
