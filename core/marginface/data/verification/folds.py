"""The folds that pairs are cross-validated over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

USUAL_FOLDS = 10  # LFW's number


def contiguous_folds(count: int, folds: int) -> NDArray[np.int64]:
    """Return the fold of each of `count` things, from 0: contiguous, the first ones one longer.

    >>> contiguous_folds(5, 2)
    array([0, 0, 0, 1, 1])
    """
    sizes = [count // folds + (fold < count % folds) for fold in range(folds)]
    return np.repeat(np.arange(folds), sizes)


def folds_of_both_kinds(same: NDArray[np.bool_], folds: int) -> NDArray[np.int64]:
    """Return the fold of each pair: same pairs in contiguous parts, and different pairs likewise.

    A fold of one kind alone would be judged at a threshold that the other kind decided. In LFW's
    order, and that of InsightFace's files, these are contiguous parts of the list.

    Args:
        same: [pairs].
        folds: how many.

    >>> folds_of_both_kinds(np.array([True, True, True, True, False, False]), 2)
    array([0, 0, 1, 1, 0, 1])
    """
    fold_of = np.empty(len(same), np.int64)
    for kind in (same, ~same):
        fold_of[kind] = contiguous_folds(int(kind.sum()), folds)
    return fold_of


def usual_folds(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the fold of each pair for a list without folds: ten, with pairs of both kinds.

    There are fewer where a kind has fewer pairs. Where it has but one, folds are in the list's
    order.
    """
    least = min(int(same.sum()), int((~same).sum()))
    if least < 2:
        return contiguous_folds(len(same), min(USUAL_FOLDS, len(same)))
    return folds_of_both_kinds(same, min(USUAL_FOLDS, least))
