"""Losses of one's own: what is taken, what is refused and in which words."""

import importlib
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest
from own_losses import forget, forgetting, write_example

from marginface import MarginfaceError, losses
from marginface.losses import (
    Logit,
    MarginLoss,
    Memory,
    parameter,
    register,
    registry,
    tensor_code,
)


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


@dataclass(frozen=True, kw_only=True)
class Drawing(Own):
    name: ClassVar[str] = "drawing"
    draws: ClassVar[tuple[str, ...]] = ("margin",)


@dataclass(frozen=True, kw_only=True)
class Numeric(Own):
    name: ClassVar[str] = "numeric"

    def target(self, cosine, norm, prepared):
        return cosine - self.margin


@dataclass(frozen=True, kw_only=True)
class Raising(Own):
    name: ClassVar[str] = "raising"

    def target(self, cosine, norm, prepared):
        return Logit(prepared["easy"], 1.0)


CODE = "own_torch:OwnOps"  # looked at when it is needed


def test_a_registered_loss_is_one_of_all():
    register(Own, torch=CODE)
    assert "own" in losses.names()
    assert losses.get("own", margin=0.5) == Own(margin=0.5)
    assert losses.parameters("own") == {"scale": 64.0, "margin": 0.3}
    assert tensor_code.runs_in("own", "torch")
    assert not tensor_code.runs_in("own", "tf")
    register(Own, tf="own_tf:OwnOps")  # the other framework's code may come later
    assert tensor_code.runs_in("own", "torch")
    assert tensor_code.runs_in("own", "tf")
    with pytest.raises(MarginfaceError, match=r"own: margin must be in \[0, 1\), got 1"):
        losses.get("own", margin=1)


@pytest.mark.parametrize(
    ("loss", "code", "said"),
    [
        ("own", {"torch": CODE}, "derived from marginface.losses.MarginLoss, got 'own'"),
        (Own(), {"torch": CODE}, "derived from marginface.losses.MarginLoss, got Own("),
        (dict, {"torch": CODE}, "derived from marginface.losses.MarginLoss, got <class 'dict'>"),
        (Nameless, {"torch": CODE}, "Nameless has no name; give it one"),
        (Shouting, {"torch": CODE}, "Shouting has the name 'Own Loss'; give it one of small"),
        (
            Again,
            {"torch": CODE},
            "the name 'arcface' is taken by marginface.losses.arcface.ArcFace",
        ),
        (Bare, {"torch": CODE}, "write @dataclass(frozen=True, kw_only=True) above it"),
        (Plain, {"torch": CODE}, "'slack' says no default, range and meaning; declare it with"),
        (Aimless, {"torch": CODE}, "Aimless has no target(self, cosine, norm, prepared)"),
        (Beyond, {"torch": CODE}, "beyond: margin must be in [0, 1), got 3.0"),
        (Own, {}, "Own is registered without tensor code; give torch= or tf=, or both"),
        (Drawing, {"torch": CODE}, "Drawing has draws, but no draw(self, rng, batch); what is"),
        (
            Numeric,
            {"torch": CODE},
            "target(0.5, 1.0, {}) returns 0.2; expected a marginface.losses",
        ),
        (
            Raising,
            {"torch": CODE},
            f"Raising: target(0.5, 1.0, {{}}) fails: KeyError: 'easy' ({__file__}, line ",
        ),
        (
            Own,
            {"tf": Own},
            "tf=Own is no tensor code; expected a class derived from marginface_tf.",
        ),
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


@dataclass(frozen=True, kw_only=True)
class Right(MarginLoss):
    """A drawn margin, a running mean and a bias."""

    name: ClassVar[str] = "right"
    draws: ClassVar[tuple[str, ...]] = ("margin",)

    def initial_bias(self, num_classes):
        return np.zeros(num_classes)

    def initial_state(self, num_classes):
        return {"t": np.array(0.0)}

    def class_state(self, num_classes, embedding_size):
        return {"latest": np.zeros((num_classes, embedding_size)), "seen": np.zeros(num_classes)}

    def remember(self, rows, sample, state):
        return {"latest": sample.embedding, "seen": rows["seen"] + 1}

    def recall(self, rows, state):
        return Memory(0.1 * min(rows["seen"], 1), rows["latest"])

    def draw(self, rng, batch):
        return {"margin": rng.normal(size=batch)}

    def prepare(self, cosines, _, state, draw):
        return {"margin": draw["margin"]}, {"t": np.array(state["t"] + cosines.mean())}

    def target(self, cosine, _, prepared):
        return Logit(cosine - prepared["margin"], 1.0)


def changed(**parts) -> type[MarginLoss]:
    return dataclass(frozen=True, kw_only=True)(type("Changed", (Right,), parts))


def returning(value):
    return lambda *_: value


ONES, T = np.ones(2), {"t": np.array(0.0)}


@pytest.mark.parametrize(
    ("method", "part", "said"),
    [
        ("num_centers", property(returning(0)), "num_centers returns 0; expected a whole number"),
        ("num_centers", property(returning("2")), "num_centers returns '2'; expected a whole"),
        ("num_centers", property(lambda _: 1 / 0), "num_centers fails: ZeroDivisionError: div"),
        ("initial_bias", returning(0.0), "initial_bias(3) returns 0.0; expected None or a NumPy"),
        ("initial_bias", returning(np.ones(2)), "initial_bias(3) returns array([1., 1.]); expect"),
        ("initial_state", returning(None), "initial_state(3) returns None; expected NumPy arrays"),
        ("initial_state", returning({"t": 0.0}), "initial_state(3) returns {'t': 0.0}; expected"),
        ("margin_pull", property(returning("2")), "with margin_pull, a number, margins [num_clas"),
        ("class_state", returning({"t": 0.0}), "class_state(3, 4) returns {'t': 0.0}; expected"),
        ("class_state", returning({"u": ONES}), "by name with a row a class, here 3 rows"),
        ("class_state", returning({"t": np.ones(3)}), "class_state calls an array 't', as the los"),
        ("remember", returning({}), "remember returns {}; expected rows by the names of class_sta"),
        (
            "remember",
            returning({"latest": ONES, "seen": 1}),
            "remember returns for 'latest' shape (2,); expected as its row, here (4,)",
        ),
        ("recall", returning((0.1, np.ones(4))), "expected None or a marginface.losses.Memory(sh"),
        ("recall", returning(Memory(2, np.ones(4))), "recall returns Memory(share=2, vector=arra"),
        ("num_centers", property(returning(2)), "Changed: recall goes with one centre a class; re"),
        ("normalized", False, "Changed: recall gives cosines a direction, and this loss has pro"),
        ("draws", "margin", "draws is 'margin'; expected a tuple of names, as ('margin',)"),
        ("draw", returning({"m": ONES}), "expected NumPy arrays [batch] by the names of draws, m"),
        ("draw", returning({"margin": np.ones(3)}), "draw(rng, 2) returns {'margin': array([1.,"),
        ("prepare", returning({}), "prepare returns {}; expected a pair, values [batch] by name"),
        ("prepare", returning(({"margin": 1.0}, T)), "prepare returns for 'margin' a float; expe"),
        ("prepare", returning(({"margin": ONES}, {})), "the next state of nothing; expected t, as"),
        (
            "prepare",
            returning(({"margin": ONES}, T | {"u": ONES})),
            "prepare returns the next state of t, u; expected t, as initial_state has it",
        ),
        (
            "prepare",
            returning(({"margin": ONES}, {"t": ONES})),
            "prepare returns for the next 't' shape (2,); expected as in initial_state, here ()",
        ),
        ("prepare", returning(({}, T)), "target(0.5, 1.0, {}) fails: KeyError: 'margin' ("),
        ("negative", returning(0.1), "returns 0.1; expected a marginface.losses.Logit(value, slo"),
        ("negative", returning(Logit(ONES, 1)), "expected a marginface.losses.Logit(value, slope"),
        ("reduce", returning(0.5), "reduce returns 0.5; expected a pair, the loss and its derivat"),
        ("reduce", returning((0.5, [0.1])), "reduce returns (0.5, [0.1]); expected a pair, the lo"),
        (
            "reduce",
            returning((0.5, [[1], [2, 3], 4])),
            "reduce returns (0.5, [[1], [2, 3], 4]); exp",
        ),
        ("penalty", returning(0.5), "penalty returns 0.5; expected a pair of numbers, the penalty"),
        ("tallies", ("hard",), "tally returns {}; expected values by the names of tallies, hard"),
        ("tally", returning({"hard": 1.0}), "tally returns {'hard': 1.0}; expected values by the"),
        ("radius", returning("64"), "radius returns '64'; expected a number"),
        ("finish", returning(None), "finish returns None; expected the next state by name"),
        ("finish", returning({}), "finish returns the next state of nothing; expected t, as init"),
    ],
)
def test_what_its_reference_returns_is_looked_at(method, part, said):
    register(changed(), torch=CODE)
    with pytest.raises(MarginfaceError) as error:
        register(changed(**{method: part}), torch=CODE)
    assert str(error.value).startswith("Changed: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limits", [{"low": 1, "high": 0}, {"above": 1, "below": 1}])
def test_a_range_without_room_is_refused(limits):
    with pytest.raises(MarginfaceError, match=r"a parameter \(subtracted\) that must be in .1, "):
        parameter(0.1, help="subtracted", **limits)


def test_a_name_is_given_once():
    register(Own, torch=CODE)

    @dataclass(frozen=True, kw_only=True)
    class Other(Own):
        pass

    with pytest.raises(MarginfaceError, match="the name 'own' is taken by"):
        register(Other, torch=CODE)
    cell = type("Own", (Own,), {"__module__": Own.__module__, "__qualname__": Own.__qualname__})
    again = dataclass(frozen=True, kw_only=True)(cell)
    register(again, torch=CODE)  # a notebook's cell that runs again
    assert type(losses.get("own")) is again


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("nowhere:OwnOps", "nowhere:OwnOps, cannot be imported: there is no module nowhere"),
        ("my_losses_torch:OwnOps", "has no OwnOps"),
        (
            "my_losses_torch:Half",
            "torch=Half is no tensor code; expected a class derived from marginface_torch",
        ),
    ],
)
def test_code_that_is_named_is_looked_at_when_it_is_needed(folder, code, said):
    (folder / "my_losses_torch.py").write_text("class Half:\n    target = print\n")
    sys.path.append(str(folder))
    register(Own, torch=code)
    with pytest.raises(MarginfaceError) as error:
        tensor_code.own_code(Own, "torch")
    assert said in str(error.value)
    with pytest.raises(MarginfaceError, match="loss 'own' has no code for backend tf, only for to"):
        tensor_code.own_code(Own, "tf")
    with pytest.raises(MarginfaceError, match="the loss Plain is not registered; call"):
        tensor_code.own_code(Plain, "tf")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("my_loses:EasyCosFace", "there is no module my_loses here or among what is installed"),
        ("my_losses:Easy", "has no Easy"),
        ("my_losses:Logit", "is no registered loss; its module should end with marginface.losses"),
        ("faces:Easy", "is not there: faces (the folder "),
        ("my_losses:", "unknown loss 'my_losses:'; a loss of one's own is module:Class, as my_"),
        ("my_losses.Easy", "unknown loss 'my_losses.Easy'; a loss of one's own is module:Class"),
        ("../my_losses:Easy", "unknown loss '../my_losses:Easy'"),
    ],
)
def test_places_that_hold_no_loss_are_refused(folder, text, said):
    write_example(folder)
    (folder / "faces").mkdir()
    with pytest.raises(MarginfaceError) as error:
        losses.load(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("code", "said", "line"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'", 1),
        ("x = 1\nraise RuntimeError('one\\nand two')", "RuntimeError: one and two", 2),
        ("x = 1\ndef f(:", "SyntaxError: invalid syntax", 2),
        ("import numpy\nnumpy.zeros(3).reshape(7)", "ValueError: cannot reshape array", 2),
        ("raise SystemExit('bye')", "SystemExit: bye", 1),
        ("from marginface import losses\nlosses.register(dict)", "register takes a class", 2),
    ],
)
def test_what_ones_own_module_raises_is_one_line_with_its_place(folder, refusal, code, said, line):
    (folder / "my_losses.py").write_text(code)
    (folder / "my_parts.py").write_text("import my_losses\n")
    for module in ("my_losses", "my_parts"):
        told = refusal("losses", f"{module}:Own")
        assert told.startswith(f"the loss {module}:Own cannot be imported: {said}")
        assert told.endswith(f" ({folder}/my_losses.py, line {line})")
    register(Own, torch="my_losses:Ops")
    with pytest.raises(MarginfaceError, match="for torch, my_losses:Ops, cannot be imported: "):
        tensor_code.own_code(Own, "torch")


def test_installed_names_come_before_the_folders(folder):
    (folder / "json.py").write_text("raise SystemExit('imported from the folder')\n")
    with pytest.raises(MarginfaceError, match="has no Own"):
        losses.load("json:Own")


def test_what_is_installed_but_not_imported_comes_before_the_folders_too(folder):
    installed = folder / "installed"
    installed.mkdir()
    place = write_example(installed)
    sys.path.insert(0, str(installed))
    (folder / "my_losses.py").write_text("raise SystemExit('imported from the folder')\n")
    assert losses.load(place).name == "easy_cosface"
    forget(installed)


@pytest.fixture
def offer(folder, monkeypatch):
    """Let an installed package have these entry points, of names and places."""
    sys.path.append(str(folder))
    registry._offered.cache_clear()
    yield lambda *entries: monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [EntryPoint(name, place, group) for name, place in entries],
    )
    registry._offered.cache_clear()


def test_a_package_offers_losses_by_an_entry_point(folder, offer):
    write_example(folder)
    offer(("easy_cosface", "my_losses:EasyCosFace"), ("hard_cosface", "my_losses:EasyCosFace"))
    assert "easy_cosface" in losses.names()
    assert "my_losses" not in sys.modules  # listing imports nothing
    assert losses.get("easy_cosface").name == "easy_cosface"
    with pytest.raises(MarginfaceError, match=r"'hard_cosface' .* no loss of that name is regist"):
        losses.get("hard_cosface")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere:Easy", "it cannot be imported: there is no module nowhere here"),
        ("broken:Easy", "RuntimeError: a line and another"),
        ("lacking:Easy", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("my_losses:Hard", "has no Hard"),
        ("my_losses", "an entry point is module:Class"),
    ],
)
def test_a_broken_package_is_passed_over_and_told(folder, offer, cli, place, said):
    write_example(folder)
    (folder / "broken.py").write_text("raise RuntimeError('a line\\nand another')\n")
    (folder / "lacking.py").write_text("import no_such_library\n")
    offer(("broken", place), ("easy_cosface", "my_losses:EasyCosFace"))
    with pytest.raises(MarginfaceError) as error:
        losses.get("broken")
    told = str(error.value)
    assert told.startswith(f"the loss 'broken' of an installed package (entry point {place}): ")
    assert said in told
    assert told.endswith("; mend or remove the package")
    assert "\n" not in told
    with pytest.warns(RuntimeWarning) as warned:
        assert registry.usable() == [*registry.BUILT_IN, "easy_cosface"]
    assert [str(each.message) for each in warned] == [f"passed over: {told}"]
    with pytest.warns(RuntimeWarning):
        status, out, _ = cli("losses")
    assert status == 0
    assert "easy_cosface" in out


def test_a_name_that_is_taken_is_told(folder, offer):
    write_example(folder)
    offer(("arcface", "a:A"), ("easy_cosface", "my_losses:EasyCosFace"), ("easy_cosface", "b:B"))
    with pytest.warns(RuntimeWarning) as warned:
        assert losses.names() == [*registry.BUILT_IN, "easy_cosface"]
    own, other = (str(each.message) for each in warned)
    assert "(entry point a:A), as marginface's own has that name" in own
    assert "(entry point b:B), as the loss 'easy_cosface' of an installed package" in other
    assert losses.get("easy_cosface").name == "easy_cosface"


def test_a_place_is_imported_when_it_is_loaded_and_not_before(folder):
    place = write_example(folder)
    for use in (losses.get, losses.parameters, lambda name: tensor_code.runs_in(name, "torch")):
        with pytest.raises(MarginfaceError, match=f"give --loss {place} as well"):
            use(place)
    assert "my_losses" not in sys.modules
    assert losses.load(place).name == "easy_cosface"
    assert losses.get(place) == losses.get("easy_cosface")


def test_a_place_that_python_has_imported_needs_no_loading(folder):
    place = write_example(folder)
    sys.path.append(str(folder))
    with pytest.raises(MarginfaceError, match="or in Python import my_losses first"):
        losses.get(place)
    importlib.import_module("my_losses")
    assert losses.get(place) == losses.get("easy_cosface")
    with pytest.raises(MarginfaceError, match="the loss my_losses:Logit is code that is not imp"):
        losses.get("my_losses:Logit")


def test_a_place_is_drawn_beside_another_loss(folder):
    from marginface.losses.plot import COLOURS, draw_side_by_side  # matplotlib

    place = write_example(folder)
    losses.load(place)
    axes = draw_side_by_side([place, "cosface"]).axes
    assert [line.get_label() for line in axes[0].lines[1:]] == [place, "cosface"]
    assert [line.get_color() for line in axes[0].lines[1:]] == list(COLOURS[:2])


def test_registering_loads_no_framework(folder):
    place = write_example(folder)
    code = (
        f"import sys; from marginface import losses; losses.load({place!r})\n"
        "print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
