"""Write what verification found: metrics.json and a picture with ROC and score histograms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.evaluation.output import METRICS_NAME, check_output_dir
from marginface.evaluation.verification import RocCurve, VerificationResult, roc
from marginface.extras import needs

with needs("report"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, PercentFormatter

FIGURE_NAME = "verification.png"
SAME, DIFFERENT, INK, FAINT = "#1f77b4", "#d95f02", "#333333", "#999999"


def write_report(
    result: VerificationResult,
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    output_dir: Path,
    *,
    metrics: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write metrics.json and verification.png to `output_dir` (made if absent), return their paths.

    Args:
        result: what was measured.
        scores, same: [pairs], what it was measured on.
        output_dir: folder.
        metrics: what metrics.json is to hold, in place of the result alone.

    Raises:
        MarginfaceError: `output_dir` is a file.
    """
    check_output_dir(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    record, figure = output_dir / METRICS_NAME, output_dir / FIGURE_NAME
    with replacing(figure) as temporary:
        draw(result, scores, same).savefig(temporary, format="png")
    values = result.to_json() if metrics is None else metrics
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    return record, figure


def draw(
    result: VerificationResult, scores: NDArray[np.float64], same: NDArray[np.bool_]
) -> Figure:
    """Return the figure: ROC over a logarithmic FAR axis, and the scores of both kinds of pair."""
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_roc(left, roc(scores, same), result)
    _draw_histograms(right, scores, same, result.threshold)
    figure.suptitle(
        f"Verification accuracy {result.accuracy:.2%} ± {100 * result.accuracy_std:.2f} "
        f"over {len(result.fold_accuracies)} folds",
        color=INK,
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
    return figure


def _draw_roc(axes: Axes, curve: RocCurve, result: VerificationResult) -> None:
    # FAR 0 has no place on a logarithmic axis: it is drawn at half a false accept.
    floor = 0.5 / result.different_pairs
    far = np.maximum(curve.far, floor)
    chance = np.geomspace(floor, 1, 200)
    axes.plot(chance, chance, color=FAINT, linewidth=1, linestyle=":", label="chance")
    axes.step(far, curve.tar, where="post", color=SAME, linewidth=2, label=f"AUC {result.auc:.4f}")
    axes.plot(
        [result.eer],
        [1 - result.eer],
        "o",
        color=INK,
        label=f"EER {result.eer:.2%}",
        zorder=3,
    )
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
    axes.legend(loc="lower right", frameon=True, framealpha=1, edgecolor="none")


def _draw_histograms(
    axes: Axes, scores: NDArray[np.float64], same: NDArray[np.bool_], threshold: float
) -> None:
    span = (float(scores.min()), float(scores.max()))
    bins: Any = np.histogram_bin_edges(scores, bins=50, range=span)
    for kind, color, label in ((same, SAME, "same"), (~same, DIFFERENT, "different")):
        chosen = scores[kind]
        weights = np.full(len(chosen), 1 / len(chosen))
        axes.hist(
            chosen,
            bins,
            weights=weights,
            histtype="stepfilled",
            facecolor=(color, 0.25),
            edgecolor=color,
            linewidth=1.2,
            label=f"{label} ({len(chosen):,} pairs)",
        )
    axes.axvline(threshold, color=INK, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.22)  # room for the legend
    axes.set_xlabel("score (cosine similarity)")
    axes.set_ylabel("share of the pairs of its kind")
    axes.set_title("Scores", color=INK, loc="left")
    axes.legend(loc="upper left", frameon=False)
