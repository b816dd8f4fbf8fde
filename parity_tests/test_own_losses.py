"""The loss of one's own that docs/losses.md shows, in both frameworks and in every command."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from command import cli, printed, refusal
from frameworks import FRAMEWORKS, Framework, installed
from layer_cases import ROWS
from own_losses import forget, forgetting, write_example

from marginface import MarginfaceError, losses
from marginface.benchmarking.losses import STATUS, peak_memory
from marginface.losses import Logit, MarginLoss, parameter
from marginface.losses.describe import page
from marginface.losses.problems import variants
from marginface.losses.registry import BUILT_IN
from marginface.losses.trial import try_code
from marginface.parity import broken, compare
from marginface.runs.folder import load_run

TINY = [
    *("--backbone", ROWS, "--embedding-size", "16"),
    *("--batch-size", "4", "--checkpoint-every", "1"),
]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for _ in forgetting(monkeypatch, tmp_path):
        yield write_example(tmp_path)


def test_parity(framework: Framework, place: str) -> None:
    out = printed("parity", "--loss", place, "--backend", framework.name)
    assert "all 12 comparisons are within tolerance" in out


def test_wrong_code_is_told(framework: Framework, place: str) -> None:
    code = Path(f"my_losses_{framework.name}.py")
    code.write_text(code.read_text().replace("cosines > 0", "cosines > 0.5"))
    status, out, _ = cli("parity", "--loss", place, "--backend", framework.name)
    assert status == 1
    assert "comparisons are beyond tolerance" in out


def test_code_of_a_wrong_shape_is_told(framework: Framework, place: str) -> None:
    code = Path(f"my_losses_{framework.name}.py")
    code.write_text(code.read_text().replace("self.spec.margin, cosines)", "0, cosines)[:, None]"))
    said = refusal("parity", "--loss", place, "--backend", framework.name)
    told = f"easy_cosface in {framework.name}: target returns shape (2, 1); expected [batch], here"
    assert told in said


@pytest.mark.parametrize("part", [(slice(None), slice(3)), (slice(2), slice(None))])
def test_a_wrong_shape_of_a_larger_batch_is_told(
    framework: Framework, place: str, part: Any
) -> None:
    """The trial is of two samples and three classes; there this is right."""
    kind, base = losses.load(place), framework.module("losses").LossOps

    @dataclass(frozen=True, kw_only=True)
    class Narrow(kind):  # type: ignore[misc, valid-type]
        name: ClassVar[str] = "narrow"

    class NarrowOps(base):  # type: ignore[misc, valid-type]
        def target(self, cosines: Any, *_: Any) -> Any:
            return cosines

        def negatives(self, cosines: Any, *_: Any) -> Any:
            return cosines[part]

    losses.register(Narrow, **{framework.name: NarrowOps})
    head = framework.head("narrow", 4, 5)
    said = (
        r"narrow: negatives returns shape \((4, 3|2, 5)\), expected \[batch, classes\], one logit"
    )
    with pytest.raises(MarginfaceError, match=said):
        framework.call(head, np.ones((4, 4), np.float32), np.array([0, 1, 2, 3]))


def test_code_that_returns_no_tensor_is_told(framework: Framework, place: str) -> None:
    code = Path(f"my_losses_{framework.name}.py")
    code.write_text(code.read_text().replace("return ", "None and "))
    said = refusal("parity", "--loss", place, "--backend", framework.name)
    assert f"easy_cosface in {framework.name}: target returns a NoneType; expected [batch]" in said


def test_the_trial_refuses_none_of_the_losses_that_are_here(framework: Framework) -> None:
    tensor = framework.torch.tensor if framework.name == "torch" else framework.tf.constant
    for name, kind in BUILT_IN.items():
        for loss in variants(name):
            try_code(framework.module("losses").OPS[kind], loss, framework.name, tensor)


class Wrong:
    """Parts that are wrong, in tensors of both frameworks, each in the place of a right one."""

    def raises(self, *_: Any) -> Any:
        raise RuntimeError("one\nand two")

    def reads_another_name(self, cosines: Any, _: Any, prepared: Any) -> Any:
        return cosines - prepared["missing"]

    def no_pair(self, cosines: Any, *_: Any) -> Any:
        return {"margin": cosines}

    def no_next_state(self, cosines: Any, *_: Any) -> Any:
        return {"margin": cosines}, {}

    def another_state(self, cosines: Any, _: Any, state: Any, *__: Any) -> Any:
        return {"margin": cosines}, {**state, "u": state["t"]}

    def wide_state(self, cosines: Any, norms: Any, *_: Any) -> Any:
        return {"margin": cosines}, {"t": norms}

    def numbers(self, *given: Any) -> Any:
        return {"margin": 0.1}, given[2]

    def nothing(self, *_: Any) -> Any:
        return {}

    def row(self, state: Any) -> Any:
        return state["t"][None]

    def scalar(self, first: Any, *_: Any) -> Any:
        return first[0]

    def column(self, first: Any, *_: Any) -> Any:
        return first[:, None]


@pytest.mark.parametrize(
    ("method", "code", "said"),
    [
        ("target", Wrong.reads_another_name, "target, given margin by prepare, fails: KeyError: "),
        ("target", Wrong.raises, "target, given margin by prepare, fails: RuntimeError: one and "),
        ("prepare", Wrong.raises, f"prepare fails: RuntimeError: one and two ({__file__}, line "),
        ("negatives", Wrong.raises, "negatives, given margin by prepare, fails: RuntimeError: "),
        ("reduce", Wrong.raises, f"reduce fails: RuntimeError: one and two ({__file__}, line "),
        ("penalty", Wrong.raises, f"penalty fails: RuntimeError: one and two ({__file__}, line "),
        ("__init__", Wrong.raises, "Ops cannot be made: RuntimeError: one and two ("),
        ("prepare", Wrong.no_pair, "expected a pair, values [batch] by name and the next state"),
        ("prepare", Wrong.no_next_state, "prepare returns the next state of nothing; expected t,"),
        ("prepare", Wrong.another_state, "prepare returns the next state of t, u; expected t, as"),
        ("prepare", Wrong.wide_state, "prepare returns for the next 't' shape (2,); expected as "),
        ("prepare", Wrong.numbers, "prepare returns for 'margin' a float; expected [batch], here"),
        ("target", Wrong.scalar, "target returns shape (); expected [batch], here (2,)"),
        ("negatives", Wrong.column, "negatives returns shape (2, 1, 3); expected [batch, classes]"),
        ("reduce", Wrong.scalar, "reduce returns shape (); expected [batch], here (2,)"),
        ("reduce", Wrong.column, "reduce returns shape (2, 1); expected [batch], here (2,)"),
        ("penalty", Wrong.column, "penalty returns shape (2, 1); expected [batch], here (2,)"),
        ("tally", Wrong.no_pair, "expected values by the names of tallies, none"),
        ("radius", Wrong.row, "radius returns shape (1,); expected a number, here ()"),
        ("finish", Wrong.nothing, "finish returns the next state of nothing; expected t,"),
    ],
)
def test_wrong_parts_are_told_before_training(
    framework: Framework, place: str, method: str, code: Any, said: str
) -> None:
    kind, base = losses.load(place), framework.module("losses").LossOps

    @dataclass(frozen=True, kw_only=True)
    class Moving(kind):  # type: ignore[misc, valid-type]
        """A drawn margin, and a running mean."""

        name: ClassVar[str] = "moving"
        draws: ClassVar[tuple[str, ...]] = ("margin",)

        def initial_state(self, num_classes: int) -> Any:
            return {"t": np.array(1 / num_classes)}

        def draw(self, rng: np.random.Generator, batch: int) -> Any:
            return {"margin": rng.normal(size=batch)}

        def prepare(self, cosines: Any, _: Any, state: Any, draw: Any) -> Any:
            return {"margin": draw["margin"]}, {"t": 0.5 * state["t"] + cosines[0]}

    class Ops(base):  # type: ignore[misc, valid-type]
        def prepare(self, cosines: Any, _: Any, state: Any, draw: Any) -> Any:
            return {"margin": draw["margin"]}, {"t": 0.5 * state["t"] + cosines[0]}

        def target(self, cosines: Any, _: Any, prepared: Any) -> Any:
            return cosines - prepared["margin"]

    losses.register(Moving, **{framework.name: Ops})
    framework.head("moving", 4, 3)
    setattr(Ops, method, code)
    with pytest.raises(MarginfaceError) as error:
        framework.head("moving", 4, 3)
    assert str(error.value).startswith(f"moving in {framework.name}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_code_without_what_prepare_returns_is_told(framework: Framework, place: str) -> None:
    def add_prepare(path: Path, name: str) -> None:
        path.write_text(
            path.read_text().replace(
                "    def target(",
                "    def prepare(self, cosines, norms, state, draw):\n"
                f'        return {{"{name}": 0 * cosines}}, {{}}\n\n'
                "    def target(",
            )
        )

    code = Path(f"my_losses_{framework.name}.py")
    code.write_text(code.read_text().replace("self.spec.margin", 'prepared["easy"]'))
    add_prepare(Path("my_losses.py"), "easy")
    add_prepare(code, "easier")
    said = refusal("parity", "--loss", place, "--backend", framework.name)
    told = "target, given easier by prepare, fails: KeyError: 'easy'"
    assert f"easy_cosface in {framework.name}: {told} ({code.absolute()}, line " in said


def test_code_that_is_none_or_lacks_what_the_loss_has_is_refused(
    framework: Framework, place: str
) -> None:
    kind, base = losses.load(place), framework.module("losses").LossOps

    # mypy takes no class from a variable as a base, here and below.
    @dataclass(frozen=True, kw_only=True)
    class Shifted(kind):  # type: ignore[misc, valid-type]
        name: ClassVar[str] = "shifted"

        def negative(self, cosine: float, *_: Any) -> Logit:
            return Logit(cosine + 0.1, 1.0)

    class Bare(base):  # type: ignore[misc, valid-type]
        pass

    class Half(base):  # type: ignore[misc, valid-type]
        def target(self, cosines: Any, *_: Any) -> Any:
            return cosines

    class Alike:
        prepare = target = negatives = reduce = penalty = print

    for code, said in (
        (Bare, "Bare has no target; the loss has a target of its own"),
        (Half, "Half has no negatives; the loss has a negative of its own"),
        (Alike, "Alike is no tensor code; expected a class derived from marginface_"),
    ):
        with pytest.raises(MarginfaceError) as error:
            losses.register(Shifted, **{framework.name: code})
        assert said in str(error.value)
    losses.register(kind, **{framework.name: Half})  # the cosine is its negative
    Path(f"my_losses_{framework.name}.py").write_text(
        f"from marginface_{framework.name}.losses import LossOps\n"
        "class EasyCosFaceOps(LossOps):\n    pass\n"
    )
    losses.register(kind, **{framework.name: f"my_losses_{framework.name}:EasyCosFaceOps"})
    with pytest.raises(MarginfaceError, match="EasyCosFaceOps has no target"):
        framework.head("easy_cosface", 4, 3)


def test_a_head_takes_it_by_name_and_as_it_is(framework: Framework, place: str) -> None:
    kind = losses.load(place)
    by_name = framework.head("easy_cosface", 4, 3)
    assert by_name.loss == framework.head(kind(), 4, 3).loss == kind()
    assert framework.head(place, 4, 3).loss == kind()


def test_one_framework_is_enough(framework: Framework, place: str) -> None:
    other = "tf" if framework.name == "torch" else "torch"
    text = Path("my_losses.py").read_text()
    Path("my_losses.py").write_text(
        text.replace(f', {other}="my_losses_{other}:EasyCosFaceOps"', "").replace(
            f'{other}="my_losses_{other}:EasyCosFaceOps", ', ""
        )
    )
    said = (
        f"loss 'easy_cosface' has no code for backend {other}, only for "
        f"{framework.name}; choose that, or register it with {other}= as well"
    )
    named = ["--loss", place, "--backend", other]
    for command in (
        ["parity", *named],
        ["train", *named, "--data", "faces", "--output", "run"],
        ["bench", "losses", "--losses", place, "--backend", other],
    ):
        assert refusal(*command) == said
    assert not Path("run").exists()
    out = printed("parity", "--loss", place)  # in what there is
    assert f"{framework.name} against spec" in out
    assert "against tf" not in out
    told = f"easy_cosface has no code for backend {other}; it is left out there"
    assert (told in out) == (other in installed())
    if other in installed():
        with pytest.raises(MarginfaceError, match=f"has no code for backend {other}"):
            FRAMEWORKS[other]().head("easy_cosface", 4, 3)


def test_bench(torch: Framework, place: str) -> None:
    options = ["--sizes", "4x10", "--rounds", "1", "--backend", torch.name, "--no-memory"]
    assert place in printed("bench", "losses", "--losses", place, *options)
    for name in (place, "easy_cosface"):
        assert STATUS.exists() == (peak_memory(torch.name, name, 4, 10) is not None)  # afresh


@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
def test_what_another_process_says_comes_in_a_line(torch: Framework, place: str) -> None:
    losses.load(place)
    Path("my_losses.py").unlink()
    with pytest.raises(MarginfaceError) as error:
        peak_memory(torch.name, "easy_cosface", 4, 10)
    assert str(error.value) == (
        f"{torch.name}: another process cannot measure the memory of easy_cosface: the loss "
        f"{place} cannot be imported: there is no module my_losses here or among what is installed"
        "; --no-memory leaves it out"
    )


def test_it_is_explained_and_drawn(place: str) -> None:
    out = printed("losses", place)
    assert "EasyCosFace: CosFace's margin where the cosine is positive." in out
    assert "in [0, 2)" in out
    assert f"marginface train --loss {place} --scale 64 --margin 0.3" in out
    printed("losses", place, "--plot", "easy.png")
    assert Path("easy.png").stat().st_size > 1000
    assert "\n## easy_cosface\n" in page(["easy_cosface"])
    assert "\n## easy_cosface\n" not in page()


def test_training_and_what_comes_after(torch: Framework, place: str, own_faces: Path) -> None:
    """A run goes on only where the command names the code; whoever uses the model needs none."""
    data = ["--data", str(own_faces), "--output", "run", "--backend", torch.name]
    printed("train", *TINY, *data, "--max-steps", "1", "--loss", place)
    assert load_run("run").config["loss"] == place

    forget(own_faces.parent)
    resumed = ("train", "--output", "run", "--resume", "--max-steps", "2")
    for command in (resumed, ("train", "--config", "run/config.yaml", "--output", "other")):
        said = refusal(*command)
        assert f"code is imported only where the command names it: give --loss {place}" in said
    for other in ("arcface", "easy_cosface", "my_losses:Another"):
        said = refusal(*resumed, "--loss", other)
        assert f"the run's loss is {place}, which a resumed run cannot change to {other}" in said
        assert f"give --loss {place}, or start a new run with another --output" in said
    printed("export", "--run", "run", "--output", "model.onnx")
    assert "my_losses" not in sys.modules

    another = ["--output", "other", "--loss", "cosface", "--max-steps", "1"]
    printed("train", "--config", "run/config.yaml", *another)
    printed(*resumed, "--loss", place)
    assert load_run("run").step == 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "cosines * {2: 1.0}[cosines.shape[0]]",
            "step 1 with {place} fails: KeyError: 4 ({file}, ",
        ),
        ("cosines[:2]", "easy_cosface: target returns shape (2,), expected [batch], one logit for"),
    ],
)
def test_what_fails_in_a_step_of_training_is_one_line(
    framework: Framework, place: str, own_faces: Path, code: str, said: str
) -> None:
    """The trial's two samples pass; TensorFlow's graph hides such errors under its own."""
    file = Path(f"my_losses_{framework.name}.py").absolute()
    lines = file.read_text().partition("        return ")
    file.write_text(f"{lines[0]}{lines[1]}{code}\n")
    data = ["--data", str(own_faces), "--output", "run", "--backend", framework.name]
    told = refusal("train", *TINY, *data, "--max-steps", "1", "--loss", place)
    assert told.startswith(said.format(place=place, file=file))


@pytest.fixture
def own_faces(tmp_path: Path) -> Path:
    """Two identities, four images each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for identity in ("one", "two"):
        (tmp_path / "faces" / identity).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / identity / f"{number}.png")
    return tmp_path / "faces"


@dataclass(frozen=True, kw_only=True)
class Counting(MarginLoss):
    """A margin that falls with how often a class was seen, and negatives that are stretched."""

    name: ClassVar[str] = "counting"

    margin: float = parameter(0.5, low=0, below=2, help="of a class that was not seen yet")

    def class_state(self, num_classes: int, _: int) -> dict[str, Any]:
        return {"count": np.zeros(num_classes, np.int64)}

    def remember(self, rows: Any, *_: Any) -> dict[str, Any]:
        return {"count": rows["count"] + 1}

    def prepare(self, _: Any, __: Any, state: Any, ___: Any) -> Any:
        return {"m": self.margin / (1.0 + state["count"])}, {}

    def target(self, cosine: float, _: float, prepared: Any) -> Logit:
        return Logit(cosine - prepared["m"], 1.0)

    def negative(self, cosine: float, prepared: Any) -> Logit:
        return Logit(cosine * (1 + prepared["m"]), 1 + prepared["m"])


def counting_ops(framework: Framework, change: str = "") -> Any:
    """Return tensor code for `Counting`, maybe a little wrong."""

    # mypy takes no class from a call as a base.
    class CountingOps(framework.module("losses").LossOps):  # type: ignore[misc]
        def remember(self, rows: Any, *_: Any) -> Any:
            return {"count": rows["count"] + (change != "counts nothing")}

        def prepare(self, cosines: Any, _: Any, state: Any, __: Any) -> Any:
            count = state["count"]
            if framework.name == "tf":
                count = framework.tf.cast(count, cosines.dtype)
            count = count + cosines * 0 + 1
            return {"m": self.spec.margin / count}, {}

        def target(self, cosines: Any, _: Any, prepared: Any) -> Any:
            return cosines - prepared["m"]

        def negatives(self, cosines: Any, prepared: Any) -> Any:
            return cosines * (1 + prepared["m"][:, None] * (change != "plain negatives"))

    return CountingOps


@pytest.mark.parametrize("change", ["", "counts nothing", "plain negatives"])
@pytest.mark.usefixtures("place")
def test_rows_of_classes_and_negatives_of_one_s_own(framework: Framework, change: str) -> None:
    losses.register(Counting, **{framework.name: counting_ops(framework, change)})
    rows = compare("counting", "float64", {framework.name: framework.backend}, seeds=2)
    assert {row.quantity for row in rows} == {"loss", "d embeddings", "d weight", "state"}
    wrong = {row.quantity for row in broken(rows)}
    if change == "plain negatives":
        assert "d embeddings" in wrong
    else:
        assert wrong == ({"state"} if change else set())
    head = framework.head("counting", 4, 5)
    for _ in range(2):
        framework.call(head, np.ones((3, 4), np.float32), np.array([0, 3, 3]))
    counted = head.arrays()["class_state.count"].tolist()
    assert counted == ([0] * 5 if change == "counts nothing" else [2, 0, 0, 2, 0])
