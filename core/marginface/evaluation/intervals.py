"""Confidence intervals of the figures of `verify`.

Each holds the truth in about 95 of 100 sets, from 10 same and 10 different pairs on, and has a
width where a model makes no error, too. `benchmarks/intervals.py` measures that on simulated sets.

Pairs count as independent. Where a few identities or images occur in many pairs, or the images
themselves would be other ones, the truth is wider than the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.checks import check_count
from marginface.errors import MarginfaceError
from marginface.evaluation.auc_interval import auc_interval
from marginface.evaluation.bootstrap import accuracy_deviation
from marginface.evaluation.rates import SortedScores, wilson
from marginface.evaluation.threshold_intervals import eer_interval, one_threshold_interval
from marginface.evaluation.verification import (
    FAR_TARGETS,
    accepts,
    check_folds,
    check_scores,
    verify,
)

RESAMPLES = 1000
LEVEL = 0.95
FEWEST = 30  # pairs of a kind, for an interval of the accuracy over folds
TOO_FEW = f"none under {FEWEST} + {FEWEST} pairs"
LEAST_SCATTER = 1.1  # of the accuracy over folds, in binomial standard deviations

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """Intervals of the figures of `VerificationResult` with the same names.

    Args:
        accuracy: None where there are fewer than `FEWEST` pairs of a kind.
        best_accuracy: of the single threshold's accuracy on new pairs.
        level: confidence level.
        resamples: of the bootstrap for the interval of `accuracy`.
        accuracy_note: why `accuracy` is None; empty where it is not.
    """

    accuracy: Interval | None
    best_accuracy: Interval
    auc: Interval
    eer: Interval
    tar_at_far: dict[str, Interval]
    level: float
    resamples: int
    accuracy_note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "level": self.level,
            "resamples": self.resamples,
            "accuracy": None if self.accuracy is None else list(self.accuracy),
            "accuracy_note": self.accuracy_note,
            "best_accuracy": list(self.best_accuracy),
            "auc": list(self.auc),
            "eer": list(self.eer),
            "tar_at_far": {target: list(ends) for target, ends in self.tar_at_far.items()},
        }


def intervals(
    scores: ArrayLike,
    same: ArrayLike,
    folds: int | ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Intervals:
    """Return intervals of the figures that `verify` gives.

    Args:
        scores, same: [pairs], as for `verify`.
        folds: as for `verify`.
        resamples: of the bootstrap for the accuracy over folds.
        level: confidence level.
        seed: of the resamples: the same one gives the same interval.

    Raises:
        MarginfaceError: as `verify`, or `level` is not between 0 and 1.

    >>> ends = intervals([0.9, 0.2, 0.8, 0.3, 0.4, 0.1], [True, False] * 3, folds=2)
    >>> [round(end, 2) for end in ends.auc], ends.accuracy_note
    ([0.5, 1.0], 'none under 30 + 30 pairs')
    """
    score, truth = check_scores(scores, same)
    fold_of = check_folds(folds, truth)
    check_count("resamples", resamples)
    if not 0 < level < 1:
        raise MarginfaceError(f"level must be between 0 and 1, such as 0.95, got {level}")
    z = -NormalDist().inv_cdf((1 - level) / 2)
    result = verify(score, truth, fold_of)
    rates = SortedScores(score[truth], score[~truth])
    at = {target: rates.at(float(target), level) for target in FAR_TARGETS}
    accuracy = None
    if min(result.same_pairs, result.different_pairs) >= FEWEST:
        deviation = accuracy_deviation(score, truth, fold_of, resamples=resamples, seed=seed)
        accuracy = _over_folds(result.accuracy, fold_of, deviation, z)
    order = np.argsort(-score, kind="stable")
    return Intervals(
        accuracy=accuracy,
        best_accuracy=one_threshold_interval(*accepts(score[order], truth[order]), z),
        auc=auc_interval(rates.right, rates.wrong, z),
        eer=eer_interval(rates.right, rates.wrong, result.eer, z),
        tar_at_far={target: (rate.low, rate.high) for target, rate in at.items()},
        level=level,
        resamples=resamples,
        accuracy_note=TOO_FEW if accuracy is None else "",
    )


def _over_folds(
    accuracy: float, fold_of: NDArray[np.int64], deviation: float, z: float
) -> Interval:
    """Return the interval of the accuracy over folds: Wilson's for as many pairs as it scatters by.

    At fixed thresholds decisions would scatter binomially, which is too little. Resamples scatter
    too much, as they have only two thirds of the pairs to choose thresholds by, and not at all
    where no pair is wrong. On simulated sets the mean of both deviations is right.
    """
    sizes = np.bincount(fold_of)
    pairs = len(sizes) ** 2 / float(np.sum(1 / sizes))  # as many as there are, in equal folds
    binomial = np.sqrt(accuracy * (1 - accuracy) / pairs)
    scatter = (1 + deviation / binomial) / 2 if binomial > 0 else 0.0
    trials = pairs / max(scatter, LEAST_SCATTER) ** 2
    return wilson(accuracy * trials, trials, z)
