"""Several models on several verification sets: one table, and a folder for each."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from marginface.atomic import replacing
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.curves import write_report
from marginface.evaluation.evaluate import PairScores
from marginface.evaluation.intervals import Interval, Intervals
from marginface.evaluation.measured_with import MIRROR, THRESHOLDS, MeasuredWith, columns_of
from marginface.evaluation.score_files import SCORES_NAME, write_scores
from marginface.evaluation.verification import FAR_TARGETS, VerificationResult
from marginface.text import printable

COMPARISON_NAMES = ("comparison.json", "comparison.csv")
SHOWN_TARGET = "1e-3"  # the field's for sets of some thousands of pairs


@dataclass(frozen=True)
class Comparison:
    """One model on one verification set.

    Args:
        model: its label.
        pairs: the set, with its name.
        found: scores and norms.
        result: figures of these scores.
        intervals: of the result.
        measured_with: source of the figures, for the files; None where it is not known.
    """

    model: str
    pairs: Pairs
    found: PairScores
    result: VerificationResult
    intervals: Intervals
    measured_with: MeasuredWith | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for comparison.json."""
        return {"model": self.model, "set": self.pairs.name} | self.metrics()

    def metrics(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        known = self.measured_with
        return self.result.to_json() | {
            "interval": self.intervals.to_json(),
            "measured_with": None if known is None else known.to_json(),
        }


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """Return all models on all sets as a table for the terminal."""
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
    if rows[0].measured_with is not None:
        flip = rows[0].measured_with.origin.flip
        notes.append(f"Mirror image: {MIRROR[flip]}. {THRESHOLDS[flip]}")
    table.caption = Text("\n".join(notes)) if notes else None
    return table


def single_table(row: Comparison) -> Table:
    """Return one model on one set as a table for the terminal."""
    result, ends = row.result, row.intervals
    table = Table(title="Verification")
    table.add_column("metric")
    table.add_column("value", justify="right")
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
    if row.measured_with is not None:
        flip = row.measured_with.origin.flip
        table.add_row("mirror image", MIRROR[flip])
        table.caption = THRESHOLDS[flip]
    return table


def write_single(row: Comparison, output: Path) -> list[Path]:
    """Write metrics.json, verification.png and scores.parquet to a folder, return their paths."""
    scores = output / SCORES_NAME
    reports = write_report(
        row.result, row.found.scores, row.pairs.same, output, metrics=row.metrics()
    )
    write_scores(scores, row.pairs, row.found, row.measured_with)
    return [*reports, scores]


def write_comparison(rows: Sequence[Comparison], output: Path) -> list[Path]:
    """Write output/MODEL/SET/ as `write_single` does, comparison.json and comparison.csv."""
    written = []
    for row in rows:
        folder = output / row.model / row.pairs.name
        write_single(row, folder)
        written.append(folder)
    record, table = (output / name for name in COMPARISON_NAMES)
    with replacing(record) as temporary:
        text = json.dumps([row.to_json() for row in rows], indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = [_flat(row) for row in rows]
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return [*written, record, table]


def _percent(ends: Interval) -> str:
    return f"{100 * ends[0]:.2f} - {100 * ends[1]:.2f}"


def _flat(row: Comparison) -> dict[str, str | int | float]:
    """Return one line of comparison.csv; rates and accuracies are fractions of 1."""
    result, ends = row.result, row.intervals
    line: dict[str, str | int | float] = {
        "model": printable(row.model),
        "set": printable(row.pairs.name),
        "same_pairs": result.same_pairs,
        "different_pairs": result.different_pairs,
        "folds": len(result.fold_accuracies),
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "accuracy_low": "" if ends.accuracy is None else ends.accuracy[0],
        "accuracy_high": "" if ends.accuracy is None else ends.accuracy[1],
        "auc": result.auc,
        "auc_low": ends.auc[0],
        "auc_high": ends.auc[1],
        "eer": result.eer,
        "eer_low": ends.eer[0],
        "eer_high": ends.eer[1],
    }
    for target in FAR_TARGETS:
        line[f"tar_at_{target}"] = result.tar_at_far[target]
        low, high = ends.tar_at_far[target]
        line |= {f"tar_at_{target}_low": low, f"tar_at_{target}_high": high}
    low, high = ends.best_accuracy
    line |= {"best_accuracy": result.best_accuracy, "threshold": result.threshold}
    line |= {"best_accuracy_low": low, "best_accuracy_high": high}
    for target, threshold in result.tar_at_far_threshold.items():
        line[f"tar_at_{target}_threshold"] = threshold
    return line | columns_of(row.measured_with)
