"""The demo's page: complete, self-contained, and honest about mistakes."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from marginface.cli.demo import free_folder
from marginface.data.verification.pairs import read_pairs
from marginface.demo.faces import write_demo_set
from marginface.demo.page import DemoResult, Measured, write_page
from marginface.evaluation.verification import verify


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    folder = write_demo_set(tmp_path_factory.mktemp("demo") / "faces", 3, 3, 4, 3, pairs_per_fold=6)
    pairs = read_pairs(folder / "pairs.txt", folder / "test")
    rng = np.random.default_rng(0)
    before = rng.normal(0.8, 0.1, len(pairs)) + 0.05 * pairs.same
    after = rng.normal(0.1, 0.2, len(pairs)) + 0.5 * pairs.same
    return DemoResult(
        title="A <test> & more",
        framework="NumPy 2",
        before=Measured(verify(before, pairs.same), before),
        after=Measured(verify(after, pairs.same), after),
        pairs=pairs,
        train=folder / "train",
        test=folder / "test",
        metrics=[
            {"kind": "train", "step": 10, "loss": 9.0},
            {"kind": "train", "step": 20, "loss": 5.0},
            {"kind": "verification", "step": 20, "accuracy": 0.9},
        ],
        training="20 steps",
        export=Path("model.onnx"),
        difference=1.2e-6,
        compared=7,
        embedding_size=128,
        commands="marginface evaluate --model a && b",
        footer="marginface",
    )


class Collector(HTMLParser):
    """Notes what a page refers to and whether its elements are closed."""

    VOID = ("img", "meta", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def read(path: Path) -> Collector:
    collector = Collector()
    collector.feed(path.read_text(encoding="utf-8"))
    assert not collector.open
    return collector


def test_the_page_holds_everything_it_shows(demo: DemoResult, tmp_path: Path) -> None:
    path = write_page(tmp_path / "index.html", demo)
    page = read(path)
    assert len(page.sources) > 3 + 9 + 8  # charts, faces, pairs
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in path.read_text(encoding="utf-8")
    assert [found.name for found in tmp_path.iterdir()] == ["index.html"]


def test_the_page_states_the_figures(demo: DemoResult, tmp_path: Path) -> None:
    text = read(write_page(tmp_path / "index.html", demo)).text
    for figure in (
        f"{demo.before.result.accuracy:.1%}",
        f"{demo.after.result.accuracy:.1%}",
        f"{demo.after.result.auc:.4f}",
        f"{demo.after.result.eer:.1%}",
        "1.2e-06 over 7 pictures",
        "4 people that were never in the training set",
    ):
        assert figure in text
    assert "A <test> & more" in text
    assert "--model a && b" in text
    assert "$" not in text


def test_the_hardest_mistakes_come_first_and_are_called_wrong(
    demo: DemoResult, tmp_path: Path
) -> None:
    text = read(write_page(tmp_path / "index.html", demo)).text
    missed, taken = text.split("One person, not recognised")[1].split("Two people, taken for one")
    scores, same = demo.after.scores, demo.pairs.same
    right = (scores >= demo.after.result.threshold) == same
    for part, wrong in ((missed, same & ~right), (taken.split("Export")[0], ~same & ~right)):
        shown = [float(value) for value in re.findall(r"-?\d\.\d\d", part)]
        hardest = np.sort(scores[wrong])
        hardest = hardest if wrong[same].any() else hardest[::-1]
        assert wrong.sum() > 0
        np.testing.assert_allclose(shown, hardest[:4], atol=0.0051)
        assert part.count("✗ wrong") == len(shown)
        assert "✓ right" not in part


def test_a_perfect_model_has_no_mistakes_to_show(demo: DemoResult, tmp_path: Path) -> None:
    perfect = np.where(demo.pairs.same, 0.9, 0.1)
    better = replace(demo, after=Measured(verify(perfect, demo.pairs.same), perfect))
    text = read(write_page(tmp_path / "index.html", better)).text
    assert text.count("None.") == 2
    assert "✗" not in text


def test_a_failed_page_leaves_the_old_one(demo: DemoResult, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_page(path, replace(demo, test=tmp_path / "nowhere"))
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["index.html"]


def test_the_same_report_gives_the_same_page(demo: DemoResult, tmp_path: Path) -> None:
    first, second = (write_page(tmp_path / name, demo) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_demos_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder("demo-torch") == Path("demo-torch")
    Path("demo-torch").mkdir()
    Path("demo-torch-2").mkdir()
    assert free_folder("demo-torch") == Path("demo-torch-3")
