"""The demo's page: one HTML file that holds everything it shows and needs no network."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.verification.pairs import Pairs
from marginface.demo.charts import data_uri, histogram_chart, roc_chart, training_curve
from marginface.evaluation.verification import VerificationResult

PAIRS_SHOWN = 4  # of each kind
ROWS, COLUMNS = 3, 12  # of people trained on, and their pictures


@dataclass(frozen=True)
class Measured:
    """One verification: the result and the score of each pair."""

    result: VerificationResult
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class DemoResult:
    """What the page shows.

    Args:
        title: a sentence that says what was trained, on what, and how long it took.
        framework: name and version of the framework.
        before, after: verification of the held-out people without and with training.
        pairs: the pairs that were verified; their images are in `test`.
        train, test: the folders of images.
        metrics: the lines of the run's metrics.jsonl.
        training: a sentence about the run.
        export: the ONNX file.
        difference: largest absolute difference between its embeddings and the framework's.
        compared: number of images that were compared.
        embedding_size: of the model.
        commands: what to do next, one a line; lines that begin with # explain.
        footer: versions and machine.
    """

    title: str
    framework: str
    before: Measured
    after: Measured
    pairs: Pairs
    train: Path
    test: Path
    metrics: list[dict[str, Any]]
    training: str
    export: Path
    difference: float
    compared: int
    embedding_size: int
    commands: str
    footer: str


def write_page(path: Path, demo: DemoResult) -> Path:
    """Write the page to `path`, whole or not at all, and return `path`."""
    template = Template(files("marginface.demo").joinpath("page.html").read_text("utf-8"))
    scores = {"before": demo.before.scores, "after": demo.after.scores}
    results = {"before": demo.before.result, "after": demo.after.result}
    same = demo.pairs.same
    people = {Path(name).parts[0] for name in (*demo.pairs.first, *demo.pairs.second)}
    page = template.substitute(
        summary=html.escape(demo.title),
        before=f"{demo.before.result.accuracy:.1%}",
        after=f"{demo.after.result.accuracy:.1%}",
        held_out=len(people),
        metrics=_metric_rows(demo.before.result, demo.after.result),
        faces=_faces(demo.train),
        training=html.escape(demo.training),
        curve=training_curve(demo.metrics, demo.before.result.accuracy),
        roc=roc_chart(scores, same, results),
        histograms=histogram_chart(scores, same, results),
        decision=_decision(demo.after),
        pairs=_pair_groups(demo),
        export=(
            f"<b>✓</b> {html.escape(demo.export.name)} gives the embeddings of "
            f"{html.escape(demo.framework)}: largest difference {demo.difference:.1e} over "
            f"{demo.compared} pictures."
        ),
        framework=html.escape(demo.framework),
        embedding_size=demo.embedding_size,
        commands=html.escape(demo.commands),
        footer=html.escape(demo.footer),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _metric_rows(before: VerificationResult, after: VerificationResult) -> str:
    rows = [
        (
            "Accuracy, ten folds",
            *(f"{r.accuracy:.1%} ± {100 * r.accuracy_std:.1f}" for r in (before, after)),
        ),
        ("Area under the ROC", *(f"{r.auc:.4f}" for r in (before, after))),
        ("Equal error rate", *(f"{r.eer:.1%}" for r in (before, after))),
    ]
    for target, words in (("1e-1", "10%"), ("1e-2", "1%")):
        rates = (f"{r.tar_at_far[target]:.1%}" for r in (before, after))
        rows.append((f"Recognised at {words} false accepts", *rates))
    return "\n".join(f"<tr><td>{a}</td><td>{b}</td><td>{c}</td></tr>" for a, b, c in rows)


def _image(path: Path) -> str:
    return f'<img alt="" src="{data_uri(path.read_bytes(), "image/jpeg")}">'


def _faces(train: Path) -> str:
    people = sorted(folder for folder in train.iterdir() if folder.is_dir())[:ROWS]
    return "\n".join(
        _image(picture) for person in people for picture in sorted(person.glob("*.jpg"))[:COLUMNS]
    )


def _decision(after: Measured) -> str:
    result = after.result
    return (
        f"Called the same person at a score of {result.threshold:.2f} or more, the threshold that "
        f"is best over all {result.same_pairs + result.different_pairs:,} pairs "
        f"({result.best_accuracy:.1%} right)."
    )


def _pair_groups(demo: DemoResult) -> str:
    scores, same = demo.after.scores, demo.pairs.same
    right = (scores >= demo.after.result.threshold) == same
    groups = []
    for title, kind, judged, hardest in (
        ("One person, recognised (typical scores)", same, right, None),
        ("Two people, told apart (typical scores)", ~same, right, None),
        ("One person, not recognised: the lowest scores", same, ~right, scores),
        ("Two people, taken for one: the highest scores", ~same, ~right, -scores),
    ):
        chosen = np.flatnonzero(kind & judged)
        middle = float(np.median(scores[kind]))
        order = np.abs(scores - middle) if hardest is None else hardest
        shown = chosen[np.argsort(order[chosen], kind="stable")].tolist()
        if hardest is None:  # typical pairs of as many people
            people = [Path(demo.pairs.first[k]).parts[0] for k in shown]
            shown = [k for n, k in enumerate(shown) if people[n] not in people[:n]]
        cards = "\n".join(_card(demo, k, bool(right[k])) for k in shown[:PAIRS_SHOWN])
        body = f'<div class="pairs">\n{cards}\n</div>' if shown else "<p>None.</p>"
        groups.append(f"<h3>{title}</h3>\n{body}")
    return "\n".join(groups)


def _card(demo: DemoResult, index: int, right: bool) -> str:
    names: Iterable[str] = (demo.pairs.first[index], demo.pairs.second[index])
    images = "".join(_image(demo.test / name) for name in names)
    truth = "one person" if demo.pairs.same[index] else "two people"
    verdict = (
        '<span class="right">✓ right</span>' if right else '<span class="wrong">✗ wrong</span>'
    )
    return (
        f"<figure><div>{images}</div><figcaption><span>{truth} · "
        f"<b>{demo.after.scores[index]:z.2f}</b></span>{verdict}</figcaption></figure>"
    )
