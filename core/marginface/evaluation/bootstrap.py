"""How much the figures of `verify` would move with other pairs: a percentile bootstrap.

Pairs are drawn anew with replacement, within each fold, and same and different pairs apart: every
resample has the protocol's folds and as many pairs of each kind. Every figure is then computed as
`verify` does, thresholds included, from how often each pair was drawn. (B. Efron, R. Tibshirani:
An Introduction to the Bootstrap, 1993, chapter 13.)

Not so TAR at FAR: its threshold lies among the highest scores of different pairs, and no resample
has a higher one than the sample. On simulated normal scores a bootstrap's interval of 95% held the
truth in 89%, 51% and 33% of samples where 3, 0.5 and 0.3 false accepts were expected. So TAR has
the interval of `rates`, which is wider than it need be rather than too narrow.

Pairs count as independent. Where a few identities or images occur in many pairs, or the images
themselves would be other ones, the truth is wider than the interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.checks import check_count
from marginface.errors import MarginfaceError
from marginface.evaluation.rates import SortedScores
from marginface.evaluation.verification import FAR_TARGETS, check_folds, check_scores

RESAMPLES = 1000
LEVEL = 0.95
NUMBERS_AT_ONCE = 1 << 20  # resamples x pairs: bounds the memory to some tens of MB

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """Intervals of the figures of `VerificationResult` with the same names.

    Args:
        level: the share of resamples inside each, and how sure those of TAR at FAR are.
        resamples: how many there were.
    """

    accuracy: Interval
    auc: Interval
    eer: Interval
    tar_at_far: dict[str, Interval]
    level: float
    resamples: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "level": self.level,
            "resamples": self.resamples,
            "accuracy": list(self.accuracy),
            "auc": list(self.auc),
            "eer": list(self.eer),
            "tar_at_far": {target: list(ends) for target, ends in self.tar_at_far.items()},
        }


def bootstrap(
    scores: ArrayLike,
    same: ArrayLike,
    folds: int | ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Intervals:
    """Return intervals of accuracy, AUC and EER (percentiles of resamples), and of TAR at FAR.

    Args:
        scores, same: [pairs], as for `verify`.
        folds: as for `verify`.
        resamples: how many; the ends of an interval of 95% want about 1,000.
        level: share of the resamples in an interval; how sure those of TAR at FAR are.
        seed: of the draws: the same one gives the same intervals.

    Raises:
        MarginfaceError: as `verify`, or `level` is not between 0 and 1.

    >>> ends = bootstrap([0.9, 0.2, 0.8, 0.3, 0.4, 0.1], [True, False] * 3, folds=2).auc
    >>> tuple(round(end, 3) for end in ends)
    (1.0, 1.0)
    """
    score, truth = check_scores(scores, same)
    fold_of = check_folds(folds, truth)
    check_count("resamples", resamples)
    if not 0 < level < 1:
        raise MarginfaceError(f"level must be between 0 and 1, such as 0.95, got {level}")
    order = np.argsort(-score, kind="stable")
    ranked = Ranked(score[order], truth[order], fold_of[order], int(fold_of.max()) + 1)
    draws = draws_of(ranked, resamples, np.random.default_rng(seed))
    figures = np.concatenate([figures_of(ranked, counts) for counts in draws])
    tails = (1 - level) / 2
    ends = np.quantile(figures, [tails, 1 - tails], axis=0).T.tolist()
    accuracy, auc, eer = ((low, high) for low, high in ends)
    rates = SortedScores(score[truth], score[~truth])
    found = {target: rates.at(float(target), level) for target in FAR_TARGETS}
    tar_at_far = {target: (at.low, at.high) for target, at in found.items()}
    return Intervals(accuracy, auc, eer, tar_at_far, level, resamples)


class Ranked:
    """Pairs by falling score.

    Args:
        score, truth, fold: of the pairs, [pairs].
        folds: how many there are.

    Attributes:
        last: the last pair of each distinct score: where a threshold can lie.
    """

    def __init__(
        self, score: Floats, truth: NDArray[np.bool_], fold: NDArray[np.int64], folds: int
    ) -> None:
        self.score, self.truth, self.fold, self.folds = score, truth, fold, folds
        self.last = np.flatnonzero(np.append(score[1:] != score[:-1], True))

    def accepts(self, counts: Counts) -> Counts:
        """Return how many each threshold accepts, from none to all: [resamples, thresholds]."""
        sums = np.cumsum(counts, axis=1)[:, self.last]
        return np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)


def draws_of(ranked: Ranked, resamples: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Yield how often each pair is drawn, [resamples, pairs], a block of resamples at a time."""
    group = 2 * ranked.fold + ranked.truth
    members = np.argsort(group, kind="stable")
    _, first, size = np.unique(group[members], return_index=True, return_counts=True)
    first, size = np.repeat(first, size), np.repeat(size, size)  # of each member's group
    pairs = len(group)
    block = max(1, NUMBERS_AT_ONCE // pairs)
    for begin in range(0, resamples, block):
        rows = min(block, resamples - begin)
        drawn = members[first + (rng.random((rows, pairs)) * size).astype(np.int64)]
        drawn += pairs * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * pairs).reshape(rows, pairs)


def figures_of(ranked: Ranked, counts: Counts) -> Floats:
    """Return accuracy, AUC and EER of each resample, [resamples, 3].

    Args:
        ranked: the pairs.
        counts: how often each counts, [resamples, pairs].
    """
    same = ranked.accepts(counts * ranked.truth)
    different = ranked.accepts(counts * ~ranked.truth)
    tar, far = same / same[:, -1:], different / different[:, -1:]
    area = np.sum(np.diff(far, axis=1) * (tar[:, 1:] + tar[:, :-1]), axis=1) / 2
    return np.stack([_accuracy(ranked, counts), area, _equal_error(far, tar)], axis=1)


def _accuracy(ranked: Ranked, counts: Counts) -> Floats:
    """Return the mean over folds, each at the threshold that is best on the others."""
    gain = np.where(ranked.truth, counts, -counts).astype(np.int32)  # of accepting a pair
    accuracies = []
    for fold in range(ranked.folds):
        held = np.flatnonzero(ranked.fold == fold)
        others, drawn = gain.copy(), counts > 0
        others[:, held], drawn[:, held] = 0, False
        threshold = _thresholds(ranked, others, drawn)
        own, truth = counts[:, held], ranked.truth[held]
        right = (ranked.score[held] >= threshold[:, None]) == truth
        accuracies.append(np.sum(own * right, axis=1) / np.sum(own, axis=1))
    mean: Floats = np.mean(accuracies, axis=0)
    return mean


def _thresholds(
    ranked: Ranked, gain: NDArray[np.int32], drawn: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each resample's best threshold, [resamples], where `verify` puts it.

    That is midway between the lowest accepted and the highest rejected score; where all are
    accepted at the lowest, where none is just above the highest.

    Args:
        ranked: the pairs.
        gain: what accepting a pair adds to the right decisions, [resamples, pairs].
        drawn: whether a pair counts, [resamples, pairs].
    """
    rows, score = np.arange(len(gain)), ranked.score
    sums = np.cumsum(gain, axis=1, out=gain)
    if len(ranked.last) < len(score):
        sums = sums[:, ranked.last]
    best = np.argmax(sums, axis=1)
    none = sums[rows, best] <= 0
    lowest = score[ranked.last[best]]
    after = np.where(none, 0, ranked.last[best] + 1)  # the first rejected pair, if it is drawn
    end = len(score) - 1
    while (missing := (after <= end) & ~drawn[rows, np.minimum(after, end)]).any():
        after += missing
    rejected = score[np.minimum(after, end)]
    middle = lowest / 2 + rejected / 2
    middle = np.where((rejected < middle) & (middle <= lowest), middle, lowest)
    middle = np.where(after > end, lowest, middle)
    return np.where(none, np.nextafter(rejected, np.inf), middle)


def _equal_error(far: Floats, tar: Floats) -> Floats:
    rows = np.arange(len(tar))
    gap = (1 - tar) - far  # falls from 1 to -1
    after = np.argmax(gap <= 0, axis=1)
    before = after - 1
    share = gap[rows, before] / (gap[rows, before] - gap[rows, after])
    rates: Floats = far[rows, before] + share * (far[rows, after] - far[rows, before])
    return rates
