"""The demo's page: complete, self-contained, and honest about mistakes."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from reports import TRAINING

from marginface.cli.demo import free_folder
from marginface.data.verification.pairs import read_pairs
from marginface.demo.faces import write_demo_set
from marginface.demo.page import DemoResult, write_demo_page
from marginface.evaluation.evaluate import distinct_images
from marginface.report.collect import Report, ReportModel, measure


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    folder = write_demo_set(tmp_path_factory.mktemp("demo") / "faces", 3, 3, 4, 3, pairs_per_fold=6)
    pairs = read_pairs(folder / "pairs.txt", folder / "test")
    rng = np.random.default_rng(0)
    images = distinct_images(pairs)
    people = {name: rng.normal(size=8) for name in sorted({Path(n).parts[0] for n in images})}
    noise = rng.normal(size=(len(images), 8))
    trained, untrained = (
        np.array([share * people[Path(name).parts[0]] for name in images]) + noise
        for share in (1.5, 0.1)
    )
    return DemoResult(
        report=Report(
            (ReportModel("after training", TRAINING), ReportModel("before training")),
            (pairs,),
            tuple(
                (measure(name, pairs, embeddings.astype(np.float32)),)
                for name, embeddings in (
                    ("after training", trained),
                    ("before training", untrained),
                )
            ),
        ),
        summary="A <test> & more",
        training="20 steps",
        train=folder / "train",
        framework="NumPy 2",
        export=Path("model.onnx"),
        difference=1.2e-6,
        compared=7,
        embedding_size=128,
        commands="marginface evaluate --model a && b",
        footer="marginface & co",
    )


class Collector(HTMLParser):
    """Notes what a page refers to and whether its elements are closed."""

    VOID = ("img", "meta", "input", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.style = ""
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        elif self.open[-1:] != ["script"]:
            self.text += data
        elif not self.data:  # the first script is data
            self.data = data


def read(path: Path) -> Collector:
    collector = Collector()
    collector.feed(path.read_text(encoding="utf-8"))
    assert not collector.open
    return collector


def test_the_page_holds_everything_it_shows(demo: DemoResult, tmp_path: Path) -> None:
    path = write_demo_page(demo, tmp_path / "page")
    page = read(path)
    assert len(page.sources) == 3 * 3  # the faces; the report's pictures are in its data
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "url(" not in page.style
    assert [found.name for found in (tmp_path / "page").iterdir()] == ["index.html"]


def test_the_page_states_the_figures(demo: DemoResult, tmp_path: Path) -> None:
    text = read(write_demo_page(demo, tmp_path)).text
    assert demo.before < demo.after
    for figure in (
        f"{demo.before:.1%}→{demo.after:.1%}",
        "2 models on 1 verification set, 120 pairs",
        "after training",
        "before training",
        "1.2e-06 over 7 pictures",
        "4 people that were never in the training set",
        "float32 [N, 128]",
    ):
        assert figure in text
    for given in ("A <test> & more", "20 steps", "--model a && b", "marginface & co"):
        assert given in text
    assert "$" not in text


def test_the_mistakes_shown_are_those_of_the_trained_model(
    demo: DemoResult, tmp_path: Path
) -> None:
    data = json.loads(read(write_demo_page(demo, tmp_path)).data)
    assert [model["name"] for model in data["models"]] == ["after training", "before training"]
    assert [model["training"] for model in data["models"]] == [TRAINING, None]
    scores, same = (
        demo.report.measured[0][0].comparison.pair_scores.scores,
        demo.report.sets[0].same,
    )
    hardest = data["results"][0][0]["hardest"]
    for kind, expected in (
        ("rejects", np.sort(scores[same])),
        ("accepts", np.sort(scores[~same])[::-1]),
    ):
        assert [pair["score"] for pair in hardest[kind]] == expected[:12].tolist()


def test_a_failed_page_leaves_the_old_one(demo: DemoResult, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_demo_page(replace(demo, train=tmp_path / "nowhere"), tmp_path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["index.html"]


def test_the_same_demo_gives_the_same_page(demo: DemoResult, tmp_path: Path) -> None:
    first, second = (write_demo_page(demo, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_demos_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder("demo-torch") == Path("demo-torch")
    Path("demo-torch").mkdir()
    Path("demo-torch-2").mkdir()
    assert free_folder("demo-torch") == Path("demo-torch-3")
