"""A bootstrap of the accuracy over folds.

Pairs are drawn anew with replacement, same and different pairs apart, and stay in their folds:
every resample has as many pairs of each kind, and none both in a fold and outside. Its accuracy is
computed as `verify` does, thresholds included, from how often each pair was drawn. (B. Efron, R.
Tibshirani: An Introduction to the Bootstrap, 1993, chapter 6.) They are not drawn within folds: of
the few pairs that a fold of a small set has, resamples would be too much alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NUMBERS_AT_ONCE = 1 << 20  # resamples x pairs: bounds the memory to some tens of MB

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Ranked:
    """Pairs by falling score.

    Args:
        score, truth, fold: of the pairs, [pairs].

    Attributes:
        last: the last pair of each distinct score: where a threshold can lie.
    """

    def __init__(self, score: Floats, truth: Bools, fold: Counts) -> None:
        order = np.argsort(-score, kind="stable")
        self.score, self.truth, self.fold = score[order], truth[order], fold[order]
        self.last = np.flatnonzero(np.append(self.score[1:] != self.score[:-1], True))


def accuracy_deviation(
    score: Floats, truth: Bools, fold: Counts, *, resamples: int, seed: int = 0
) -> float:
    """Return the standard deviation of the accuracy over folds among resamples.

    Args:
        score, truth: [pairs].
        fold: of each pair, from 0, [pairs].
        resamples: number of resamples.
        seed: of the draws: the same one gives the same figure.
    """
    ranked = Ranked(score, truth, fold)
    draws = draw_counts(ranked, resamples, seed)
    return float(np.std(np.concatenate([accuracies(ranked, counts) for counts in draws])))


def draw_counts(ranked: Ranked, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each pair is drawn, [resamples, pairs], a chunk of resamples at a time."""
    rng = np.random.default_rng(seed)
    pairs = len(ranked.truth)
    kinds = [np.flatnonzero(kind) for kind in (ranked.truth, ~ranked.truth)]
    chunk = max(1, NUMBERS_AT_ONCE // pairs)
    for begin in range(0, resamples, chunk):
        rows = min(chunk, resamples - begin)
        uniform = rng.random((rows, pairs))
        chosen = [kind[(uniform[:, kind] * len(kind)).astype(np.int64)] for kind in kinds]
        drawn = np.concatenate(chosen, axis=1) + pairs * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * pairs).reshape(rows, pairs)


def accuracies(ranked: Ranked, counts: Counts) -> Floats:
    """Return mean accuracies over folds, each at the others' best threshold, [resamples].

    Args:
        ranked: the pairs.
        counts: how often each counts, [resamples, pairs]; a fold of which none does is left out.
    """
    gain = np.where(ranked.truth, counts, -counts).astype(np.int32)  # of accepting a pair
    total, folds = np.zeros(len(counts)), np.zeros(len(counts), np.int64)
    for fold in range(int(ranked.fold.max()) + 1):
        held = np.flatnonzero(ranked.fold == fold)
        others, drawn = gain.copy(), counts > 0
        others[:, held], drawn[:, held] = 0, False
        threshold = _thresholds(ranked, others, drawn)
        held_counts, truth = counts[:, held], ranked.truth[held]
        right = (ranked.score[held] >= threshold[:, None]) == truth
        size = np.sum(held_counts, axis=1)
        total += np.sum(held_counts * right, axis=1) / np.maximum(size, 1)
        folds += size > 0
    return np.asarray(total / folds)


def _thresholds(
    ranked: Ranked, gain: NDArray[np.int32], drawn: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each resample's best threshold, [resamples], where `verify` puts it.

    That is midway between the lowest accepted and the highest rejected score; where all are
    accepted at the lowest, where none is just above the highest.

    Args:
        ranked: the pairs.
        gain: change in right decisions by accepting a pair, [resamples, pairs].
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
