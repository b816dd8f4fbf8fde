"""Results of several models on several verification sets, and a folder for each."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.evaluate import PairScores, score_pairs
from marginface.evaluation.groups import GroupResult, Groups, group_results
from marginface.evaluation.intervals import Intervals, intervals
from marginface.evaluation.measured_with import MeasuredWith, columns_of
from marginface.evaluation.verification import FAR_TARGETS, VerificationResult, verify
from marginface.text import printable, to_system

COMPARISON_NAMES = ("comparison.json", "comparison.csv")


@dataclass(frozen=True, repr=False)
class Comparison:
    """One model on one verification set.

    Args:
        model: its label.
        pairs: the set, with its name.
        pair_scores: scores and norms.
        result: figures of these scores.
        intervals: of the result.
        measured_with: source of the figures, for the files; None where it is not known.
        groups: figures by group of people, where these are known.
    """

    model: str
    pairs: Pairs
    pair_scores: PairScores
    result: VerificationResult
    intervals: Intervals
    measured_with: MeasuredWith | None = None
    groups: tuple[GroupResult, ...] = ()

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        embeddings: NDArray[np.float32],
        model: str,
        measured_with: MeasuredWith | None = None,
        groups: Groups | None = None,
    ) -> Self:
        """Compare by the embeddings [images, size] of `distinct_images(pairs)`.

        The score is that of `measured_with`; the cosine without it.
        """
        pair_scores = score_pairs(pairs, embeddings)
        if measured_with is not None and (score := measured_with.score) is not None:
            quality = np.minimum(pair_scores.first_norm, pair_scores.second_norm)
            pair_scores = replace(pair_scores, scores=score.scores(pair_scores.scores, quality))
        result = verify(pair_scores.scores, pairs.same, pairs.fold)
        ends = intervals(pair_scores.scores, pairs.same, pairs.fold)
        by_group = () if groups is None else group_results(pair_scores.scores, pairs, groups)
        return cls(model, pairs, pair_scores, result, ends, measured_with, by_group)

    @property
    def score(self) -> str:
        """The name of the score."""
        known = self.measured_with
        return "cosine similarity" if known is None or known.score is None else "QMagFace"

    def __repr__(self) -> str:
        accuracy, auc = f"accuracy {self.result.accuracy:.2%}", f"AUC {self.result.auc:.5f}"
        return f"Comparison({self.model!r} on {self.pairs.name!r}: {accuracy}, {auc})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for comparison.json."""
        return {"model": self.model, "set": self.pairs.name} | self.metrics()

    def metrics(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        measured_with = self.measured_with
        return self.result.to_json() | {
            "interval": self.intervals.to_json(),
            "measured_with": None if measured_with is None else measured_with.to_json(),
            **({"groups": [each.to_json() for each in self.groups]} if self.groups else {}),
        }


def write_single(row: Comparison, output: Path) -> list[Path]:
    """Write metrics.json, verification.png and scores.parquet to a folder, return their paths."""
    from marginface.evaluation.curves import write_result  # draws: matplotlib
    from marginface.evaluation.score_files import SCORES_NAME, write_scores  # Arrow

    scores = output / SCORES_NAME
    written = write_result(
        row.result,
        row.pair_scores.scores,
        row.pairs.same,
        output,
        metrics=row.metrics(),
        score=row.score,
    )
    write_scores(scores, row.pairs, row.pair_scores, row.measured_with)
    return [*written, scores]


def write_comparison(rows: Sequence[Comparison], output: Path) -> list[Path]:
    """Write output/MODEL/SET/ as `write_single` does, comparison.json and comparison.csv."""
    written = []
    for row in rows:
        folder = output / to_system(row.model) / to_system(row.pairs.name)
        write_single(row, folder)
        written.append(folder)
    record, table = (output / name for name in COMPARISON_NAMES)
    with replacing(record) as temporary:
        text = json.dumps([row.to_json() for row in rows], indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = [_flat(row) for row in rows]
        columns = list(dict.fromkeys(column for line in lines for column in line))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return [*written, record, table]


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
