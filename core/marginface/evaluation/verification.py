"""Verification (1:1): ten-fold accuracy, AUC, EER and TAR at FAR from pair scores, all exact.

A pair is called 'same' when its score is >= the threshold. Nothing is sampled on a grid: every
threshold that can change a decision is considered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.data.verification.folds import folds_of_both_kinds, usual_folds
from marginface.data.verification.pairs import check_kinds
from marginface.errors import MarginfaceError
from marginface.evaluation.rates import allowed

FAR_TARGETS = ("1e-1", "1e-2", "1e-3", "1e-4")

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RocCurve:
    """False and true accept rates at every distinct threshold, strictest first, from (0, 0)."""

    far: Floats
    tar: Floats


@dataclass(frozen=True)
class VerificationResult:
    """Figures of `verify`; rates and accuracies are fractions of 1.

    Args:
        accuracy: mean over the folds, each with the threshold that is best on the others.
        accuracy_std: standard deviation over the folds (population, as published LFW figures).
        auc: area under the ROC; a tie between a same and a different pair counts half.
        eer: where FAR equals 1 - TAR, on the straight line between the two nearest ROC points.
        tar_at_far: the largest TAR whose FAR does not exceed the target.
        tar_at_far_threshold: the lowest threshold that keeps to that FAR, the next float above the
            highest score of a different pair that must be refused; scores >= it are accepted.
        threshold: the single threshold that is best over all pairs.
        best_accuracy: the accuracy at `threshold`; optimistic, as it saw the pairs it judges.
        fold_accuracies: the accuracy of each fold, in file order.
    """

    accuracy: float
    accuracy_std: float
    auc: float
    eer: float
    tar_at_far: dict[str, float]
    tar_at_far_threshold: dict[str, float]
    threshold: float
    best_accuracy: float
    same_pairs: int
    different_pairs: int
    fold_accuracies: tuple[float, ...]

    def admits_none(self, target: str) -> bool:
        """Return whether a FAR allows no false accept: of fewer different pairs than 1 / FAR."""
        return float(target) * self.different_pairs < 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        values = asdict(self)
        return values | {
            "pairs": self.same_pairs + self.different_pairs,
            "folds": len(self.fold_accuracies),
            "fold_accuracies": list(self.fold_accuracies),
        }


def verify(
    scores: ArrayLike, same: ArrayLike, folds: int | ArrayLike | None = None
) -> VerificationResult:
    """Measure how well `scores` [pairs] (larger is more alike) separate `same` [pairs] (bool).

    Time is O(pairs log pairs + folds * pairs).

    Args:
        scores: [pairs].
        same: [pairs].
        folds: a number for each pair, those of a fold alike, [pairs]; or how many folds to form:
            the same pairs in contiguous parts and the different pairs likewise. None forms ten,
            fewer where a kind has fewer pairs.

    Raises:
        MarginfaceError: shapes or types do not fit, a score is not finite, only one kind of pair,
            fewer than two folds, or one without a pair.

    >>> result = verify([0.9, 0.2, 0.8, 0.1], [True, False, True, False], folds=2)
    >>> result.accuracy, result.auc, result.eer, round(result.threshold, 6)
    (1.0, 1.0, 0.0, 0.5)
    """
    score, truth = check_scores(scores, same)
    fold_of = check_folds(folds, truth)
    order = np.argsort(-score, kind="stable")
    descending, ordered_truth = score[order], truth[order]
    fold_accuracies = tuple(_fold_accuracies(score, truth, order, fold_of))
    threshold, best = _best_threshold(descending, ordered_truth)
    accepted_same, accepted_different = accepts(descending, ordered_truth)
    curve = _rates(accepted_same, accepted_different)
    return VerificationResult(
        accuracy=float(np.mean(fold_accuracies)),
        accuracy_std=float(np.std(fold_accuracies)),
        auc=_area(accepted_same, accepted_different),
        eer=_equal_error_rate(curve),
        tar_at_far={target: _tar_at_far(curve, float(target)) for target in FAR_TARGETS},
        tar_at_far_threshold={
            target: _threshold_at_far(descending[~ordered_truth], float(target))
            for target in FAR_TARGETS
        },
        threshold=threshold,
        best_accuracy=best,
        same_pairs=int(accepted_same[-1]),
        different_pairs=int(accepted_different[-1]),
        fold_accuracies=fold_accuracies,
    )


def roc(scores: ArrayLike, same: ArrayLike) -> RocCurve:
    """Return the ROC of `scores` [pairs] against `same` [pairs]; raises as `verify` does."""
    score, truth = check_scores(scores, same)
    order = np.argsort(-score, kind="stable")
    return _rates(*accepts(score[order], truth[order]))


def require_folds(name: str, folds: NDArray[np.int64]) -> None:
    """Raise before any work if a set has no two folds; call it when the set is opened.

    >>> require_folds("FP", np.array([0, 0]))
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: FP has one fold, expected at least 2 to cross-validate \
over; give all folds of the protocol, or more pairs
    """
    if len(np.unique(folds)) < 2:
        raise MarginfaceError(
            f"{name} has one fold, expected at least 2 to cross-validate over; give all folds of "
            "the protocol, or more pairs"
        )


def check_folds(folds: int | ArrayLike | None, same: Bools) -> NDArray[np.int64]:
    """Return the fold of each pair from 0, [pairs], none empty; raises as `verify` says.

    Args:
        folds: as for `verify`.
        same: [pairs].
    """
    if folds is None:
        return check_folds(usual_folds(same), same)
    fold_array = np.asarray(folds)
    if fold_array.dtype.kind not in "biu" or fold_array.shape not in ((), same.shape):
        raise MarginfaceError(
            f"folds must be a whole number, or one for each of {len(same)} pairs, got "
            f"{fold_array.dtype} of shape {fold_array.shape}"
        )
    fold_of: NDArray[np.int64]
    if fold_array.ndim:
        fold_of = np.unique(fold_array, return_inverse=True)[1].astype(np.int64)
        count = int(fold_of.max()) + 1
    else:
        count = int(fold_array)
        if count >= 2 and max(same.sum(), (~same).sum()) < count:
            raise MarginfaceError(
                f"{same.sum()} same and {(~same).sum()} different pairs cannot be split into "
                f"{count} folds; give more pairs or fewer folds"
            )
        fold_of = folds_of_both_kinds(same, max(count, 1))
    if count < 2:
        raise MarginfaceError(f"folds must be at least 2, got {count}; give more pairs")
    return fold_of


def check_scores(scores: ArrayLike, same: ArrayLike) -> tuple[Floats, Bools]:
    """Return scores and flags, both [pairs], as arrays; raises as `verify` says."""
    score, truth = np.asarray(scores), np.asarray(same)
    if score.ndim != 1 or score.shape != truth.shape:
        raise MarginfaceError(
            f"scores and same must both be [pairs], got shapes {score.shape} and {truth.shape}"
        )
    if truth.dtype != np.bool_:
        raise MarginfaceError(f"same must be bool, got {truth.dtype}; compare or cast it first")
    score = score.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(score))
    if len(wrong):
        raise MarginfaceError(
            f"{len(wrong)} of {len(score)} scores are NaN or infinite, first at pair {wrong[0]}; "
            "the embeddings behind them are broken"
        )
    check_kinds(truth)
    return score, truth


def accepts(descending: Floats, truth: Bools) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the same and different pairs accepted at each distinct threshold, from none to all.

    Equal scores are accepted together: no threshold can tell them apart.
    """
    last_of_equals = np.append(descending[1:] != descending[:-1], True)
    same = np.cumsum(truth, dtype=np.int64)[last_of_equals]
    different = np.cumsum(~truth, dtype=np.int64)[last_of_equals]
    return np.append(0, same), np.append(0, different)


def _best_threshold(descending: Floats, truth: Bools) -> tuple[float, float]:
    """Return the threshold with the highest accuracy, and that accuracy.

    It lies midway between the lowest accepted and the highest rejected score, so that no pair sits
    on it. Among equally good ones the strictest is taken (as InsightFace's first maximum over
    growing distances). Accepting everything gives the lowest score; accepting nothing, the next
    float above the highest.
    """
    same, different = accepts(descending, truth)
    correct = same + (different[-1] - different)
    best = int(np.argmax(correct))
    accuracy = float(correct[best] / len(truth))
    accepted = int(same[best] + different[best])
    if accepted == 0:
        return float(np.nextafter(descending[0], np.inf)), accuracy
    if accepted == len(truth):
        return float(descending[-1]), accuracy
    lowest, highest_rejected = descending[accepted - 1], descending[accepted]
    middle = lowest / 2 + highest_rejected / 2
    # Between neighbouring floats the midpoint rounds onto one of them, perhaps the wrong one.
    return float(middle if highest_rejected < middle <= lowest else lowest), accuracy


def _fold_accuracies(
    score: Floats, truth: Bools, order: NDArray[np.intp], fold_of: NDArray[np.int64]
) -> Iterator[float]:
    ordered_fold = fold_of[order]
    descending, ordered_truth = score[order], truth[order]
    for fold in range(fold_of.max() + 1):
        others = ordered_fold != fold  # still sorted: one sort serves every fold
        threshold, _ = _best_threshold(descending[others], ordered_truth[others])
        held_out = fold_of == fold
        yield float(np.mean((score[held_out] >= threshold) == truth[held_out]))


def _rates(same: NDArray[np.int64], different: NDArray[np.int64]) -> RocCurve:
    return RocCurve(far=different / different[-1], tar=same / same[-1])


def _area(same: NDArray[np.int64], different: NDArray[np.int64]) -> float:
    """Return the area under the ROC by trapezoids, in integers until the last division."""
    twice = np.sum(np.diff(different) * (same[1:] + same[:-1]))
    return float(twice / (2 * same[-1] * different[-1]))


def _equal_error_rate(curve: RocCurve) -> float:
    """Return FAR where it equals FRR = 1 - TAR, interpolated between the ROC points around it."""
    gap = (1 - curve.tar) - curve.far  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(curve.far[after - 1] + share * (curve.far[after] - curve.far[after - 1]))


def _threshold_at_far(different: Floats, target: float) -> float:
    """Return the lowest threshold whose FAR over falling scores does not exceed the target."""
    return float(np.nextafter(different[allowed(target, len(different))], np.inf))


def _tar_at_far(curve: RocCurve, target: float) -> float:
    return float(curve.tar[np.searchsorted(curve.far, target, side="right") - 1])
