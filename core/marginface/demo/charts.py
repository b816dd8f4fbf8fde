"""The charts of the demo's page, as SVG in data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.curves import draw_histograms, draw_roc
from marginface.evaluation.verification import VerificationResult, roc
from marginface.extras import needs

with needs("report"):
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

BEFORE, AFTER, INK, GRID = "#9aa5b1", "#1f77b4", "#1f2933", "#e4e7eb"
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's own font
    "svg.hashsalt": "marginface",
    "font.family": "sans-serif",
    "font.sans-serif": ["Segoe UI", "Roboto", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}


def data_uri(content: bytes, kind: str) -> str:
    """Return `content` as an address that a page can hold in itself.

    >>> data_uri(b"hi", "text/plain")
    'data:text/plain;base64,aGk='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri(buffer.getvalue(), "image/svg+xml")


def training_curve(metrics: list[dict[str, Any]], start_accuracy: float) -> str:
    """Draw loss and verification accuracy over steps.

    Args:
        metrics: the lines of a run's metrics.jsonl.
        start_accuracy: before the first step.
    """
    losses = [(line["step"], line["loss"]) for line in metrics if line["kind"] == "train"]
    checks = [
        (line["step"], line["accuracy"]) for line in metrics if line["kind"] == "verification"
    ]
    checks = [(0, start_accuracy), *checks]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(*np.array(losses, float).reshape(-1, 2).T, color=AFTER, linewidth=2)
        left.set_ylim(bottom=0)
        left.set_title("Loss", loc="left")
        right.plot(*np.array(checks, float).T, "o-", color=AFTER, linewidth=2, markersize=6)
        for (step, accuracy), offset, side in (
            (checks[0], (8, -12), "left"),
            (checks[-1], (0, 9), "right"),
        ):
            right.annotate(
                f"{accuracy:.1%}",
                (step, accuracy),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                weight="bold",
            )
        right.set_ylim(0.5, 1.02)
        right.set_title("Verification accuracy, people not trained on", loc="left")
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axes in (left, right):
            axes.set_xlabel("step")
        return _svg(figure)


def roc_chart(
    scores: dict[str, NDArray[np.float64]],
    same: NDArray[np.bool_],
    results: dict[str, VerificationResult],
) -> str:
    """Draw one ROC for each named set of scores, over a logarithmic false accept rate."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5, 4.1), layout="constrained")
        axes = figure.subplots()
        curves = {
            f"{name}: AUC {results[name].auc:.3f}": (roc(values, same), colour)
            for (name, values), colour in zip(scores.items(), (BEFORE, AFTER), strict=True)
        }
        draw_roc(axes, curves, int((~same).sum()))
        axes.set_xlabel("different people called the same")
        axes.set_ylabel("same person recognised")
        figure.legend(loc="outside lower center", ncols=3, fontsize=9.5)
        return _svg(figure)


def histogram_chart(
    scores: dict[str, NDArray[np.float64]],
    same: NDArray[np.bool_],
    results: dict[str, VerificationResult],
) -> str:
    """Draw the scores of same and different pairs, one panel for each named set of scores."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5, 4.1), layout="constrained")
        panels: Any = figure.subplots(len(scores), 1)
        for axes, (name, values) in zip(np.atleast_1d(panels), scores.items(), strict=True):
            kinds = ("same person", "two people")
            draw_histograms(axes, values, same, results[name].threshold, kinds)
            axes.set_yticks([])
            axes.grid(False)
            axes.set_title(f"Scores {name} training", loc="left")
        axes.set_xlabel("cosine of the two embeddings")
        panels[0].legend(loc="upper left", ncols=1)
        return _svg(figure)
