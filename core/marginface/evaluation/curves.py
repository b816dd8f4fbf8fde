"""Write verification results: metrics.json, and a picture with ROC and score histograms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.evaluation.drawing import Drawing
from marginface.evaluation.output import METRICS_NAME
from marginface.evaluation.verification import RocCurve, VerificationResult, roc
from marginface.extras import needs
from marginface.outputs import check_place
from marginface.text import printable

with needs("report"):
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, PercentFormatter

FIGURE_NAME = "verification.png"
SAME, DIFFERENT, INK, FAINT = "#1f77b4", "#d95f02", "#333333", "#999999"


def write_result(
    result: VerificationResult,
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    output_dir: Path,
    *,
    metrics: Mapping[str, Any] | None = None,
    score: str = "cosine similarity",
) -> tuple[Path, Path]:
    """Write metrics.json and verification.png to `output_dir` (made if absent), return their paths.

    Args:
        result: what was measured.
        scores, same: [pairs], from which it was measured.
        output_dir: folder.
        metrics: contents of metrics.json, in place of the result alone.
        score: its name, for the picture.

    Raises:
        MarginfaceError: `output_dir` is a file.
    """
    check_place(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    record, figure = output_dir / METRICS_NAME, output_dir / FIGURE_NAME
    with replacing(figure) as temporary:
        draw(result, scores, same, score).savefig(temporary, format="png")
    values = result.to_json() if metrics is None else metrics
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    return record, figure


def draw(
    result: VerificationResult,
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    score: str = "cosine similarity",
) -> Drawing:
    """Return the figure: ROC over a logarithmic FAR axis, and the scores of both kinds of pair."""
    figure = Drawing(figsize=(11, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_roc(left, result, roc(scores, same))
    draw_scores(right, result, scores, same, score)
    figure.suptitle(
        f"Verification accuracy {result.accuracy:.2%} ± {100 * result.accuracy_std:.2f} "
        f"over {len(result.fold_accuracies)} folds",
        color=INK,
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
    return figure


def draw_rocs(
    rows: Sequence[tuple[str, VerificationResult, NDArray[np.float64], NDArray[np.bool_]]],
) -> Drawing:
    """Return the figure of several ROC curves, of (name, result, scores, same)."""
    figure = Drawing(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    curves = [
        (f"{printable(name)}: AUC {result.auc:.4f}", result, roc(scores, same))
        for name, result, scores, same in rows
    ]
    _draw_rocs(axes, curves)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def draw_roc(axes: Axes, result: VerificationResult, curve: RocCurve) -> None:
    """Draw a ROC over a logarithmic FAR axis."""
    auc, eer = f"AUC {result.auc:.4f}", f"EER {result.eer:.2%}"
    _draw_rocs(axes, [(auc, result, curve)])
    axes.plot([result.eer], [1 - result.eer], "o", color=INK, label=eer, zorder=3)
    axes.legend(loc="lower right", frameon=True, framealpha=1, edgecolor="none")


def _draw_rocs(axes: Axes, curves: Sequence[tuple[str, VerificationResult, RocCurve]]) -> None:
    least = max(result.different_pairs for _, result, _ in curves)
    floor = 0.5 / least  # where FAR 0, which has no place there, is drawn
    chance = np.geomspace(floor, 1, 200)
    axes.plot(chance, chance, color=FAINT, linewidth=1, linestyle=":", label="chance")
    for at, (label, _, curve) in enumerate(curves):
        far = np.maximum(curve.far, floor)
        axes.step(far, curve.tar, where="post", color=f"C{at}", linewidth=2, label=label)
    axes.set_xscale("log")
    axes.set_xlim(floor, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("false accept rate (different pairs called same)")
    axes.set_ylabel("true accept rate (same pairs called same)")
    axes.set_title("ROC", color=INK, loc="left")
    axes.grid(True, which="major", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def draw_scores(
    axes: Axes,
    result: VerificationResult,
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    score: str = "cosine similarity",
) -> None:
    """Draw histograms of the scores [pairs] of both kinds of pair, and the threshold."""
    bins: Any = np.histogram_bin_edges(scores, bins=50)
    for kind, colour, label in (
        (same, SAME, f"same ({result.same_pairs:,} pairs)"),
        (~same, DIFFERENT, f"different ({result.different_pairs:,} pairs)"),
    ):
        axes.hist(
            scores[kind],
            bins,
            weights=np.full(int(kind.sum()), 1 / kind.sum()),
            histtype="stepfilled",
            facecolor=(colour, 0.25),
            edgecolor=colour,
            linewidth=1.2,
            label=label,
        )
    axes.axvline(
        result.threshold, color=INK, linestyle="--", label=f"threshold {result.threshold:.3f}"
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.22)  # room for the legend
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(f"score ({score})")
    axes.set_ylabel("share of the pairs of its kind")
    axes.set_title("Scores", color=INK, loc="left")
    axes.legend(loc="upper left", frameon=False)
