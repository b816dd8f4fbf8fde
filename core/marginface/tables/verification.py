"""Tables of verification's figures, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from marginface.evaluation.comparison import Comparison
from marginface.evaluation.intervals import Interval
from marginface.evaluation.measured_with import MIRROR, THRESHOLDS

SHOWN_TARGET = "1e-3"  # the field's for sets of some thousands of pairs


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """Build the table of all models on all sets."""
    level = rows[0].intervals.level
    table = Table(title="Verification")
    table.add_column("model", overflow="fold")
    table.add_column("set", overflow="fold")
    for title in ("accuracy", f"{level:.0%} interval", "AUC"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(Text(f"TAR@{SHOWN_TARGET}\nthreshold"), justify="right", no_wrap=True)
    for row in rows:
        result = row.result
        mark = "*" if result.admits_none(SHOWN_TARGET) else ""
        threshold = result.tar_at_far_threshold[SHOWN_TARGET]
        table.add_row(
            row.model,
            row.pairs.name,
            f"{result.accuracy:.2%} ± {100 * result.accuracy_std:.2f}",
            "none**" if row.intervals.accuracy is None else _percent(row.intervals.accuracy),
            f"{result.auc:.5f}",
            Text(f"{result.tar_at_far[SHOWN_TARGET]:.2%}{mark}\n{threshold:.4f}"),
        )
    notes = []
    if any(row.result.admits_none(SHOWN_TARGET) for row in rows):
        notes.append(f"* too few different pairs to allow one false accept at {SHOWN_TARGET}")
    notes += sorted({f"** {row.intervals.accuracy_note}" for row in rows} - {"** "})
    left_out = {each.pairs.name: each.pairs.left_out for each in rows if each.pairs.left_out}
    notes += [f"{name}: {sum(lost):,} pairs left out" for name, lost in left_out.items()]
    if rows[0].measured_with is not None:
        flip = rows[0].measured_with.origin.flip
        notes.append(f"Mirror image: {MIRROR[flip]}. {THRESHOLDS[flip]}")
        known = [row.measured_with for row in rows if row.measured_with is not None]
        scored = {each.model: each.score for each in known if each.score is not None}
        notes += [f"Score of {model}: {score}." for model, score in scored.items()]
    table.caption = Text("\n".join(notes)) if notes else None
    return table


def single_table(row: Comparison) -> Table:
    """Build the table of one model on one set."""
    result, ends = row.result, row.intervals
    table = Table(title="Verification")
    table.add_column("metric")
    table.add_column("", justify="right")
    table.add_column("threshold", justify="right")

    def add(metric: str, value: str, interval: str, threshold: str = "") -> None:
        table.add_row(metric, value, threshold)
        table.add_row(f"  {ends.level:.0%} interval", interval)

    spread = f"{result.accuracy:.2%} ± {100 * result.accuracy_std:.2f}"
    over_folds = ends.accuracy_note if ends.accuracy is None else _percent(ends.accuracy)
    add(f"accuracy, {len(result.fold_accuracies)} folds", spread, over_folds)
    best, threshold = f"{result.best_accuracy:.2%}", f"{result.threshold:.4f}"
    add("accuracy, one threshold", best, _percent(ends.best_accuracy), threshold)
    add("AUC", f"{result.auc:.5f}", f"{ends.auc[0]:.5f} - {ends.auc[1]:.5f}")
    add("EER", f"{result.eer:.2%}", _percent(ends.eer))
    for target, tar in result.tar_at_far.items():
        note = " (no false accept)" if result.admits_none(target) else ""
        threshold = f"{result.tar_at_far_threshold[target]:.4f}"
        interval = _percent(ends.tar_at_far[target])
        add(f"TAR at FAR {target}{note}", f"{tar:.2%}", interval, threshold)
    table.add_row("pairs, same / different", f"{result.same_pairs:,} / {result.different_pairs:,}")
    if row.pairs.left_out:
        table.add_row("pairs left out", f"{sum(row.pairs.left_out):,}")
    if row.measured_with is not None:
        flip = row.measured_with.origin.flip
        table.add_row("mirror image", MIRROR[flip])
        score = row.measured_with.score
        table.caption = THRESHOLDS[flip] + ("" if score is None else f" Score: {score}.")
    return table


def _percent(ends: Interval) -> str:
    return f"{100 * ends[0]:.2f} - {100 * ends[1]:.2f}"
