"""Error versus reject curves: how errors fall as the images of lowest quality are rejected.

Models such as MagFace and AdaFace give better images longer embeddings: the norm is the quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError
from marginface.evaluation.rates import allowed

FMR = 1e-3
HEAD = 1_024  # different pairs of the highest scores to look for a threshold among, at first
SHARES = 96  # of images that are rejected: 0 % to 95 %

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RejectCurve:
    """False non-match rate at a false match rate, by the share of images that is rejected.

    Attributes:
        fmr: the false match rate, the same at every share.
        share: of images rejected, from 0 up; it ends where no pair of either kind is left.
        fnmr: 1 - the true accept rate among the pairs that are left, [shares].
    """

    fmr: float
    share: Floats
    fnmr: Floats

    @property
    def area(self) -> float:
        """Return the area under the curve, by trapezoids: lower is better."""
        return float(np.trapezoid(self.fnmr, self.share))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        return {
            "fmr": self.fmr,
            "area": self.area,
            "share": self.share.tolist(),
            "fnmr": self.fnmr.tolist(),
        }


def reject_curve(
    scores: ArrayLike,
    same: ArrayLike,
    pair_quality: ArrayLike,
    image_quality: ArrayLike,
    *,
    fmr: float = FMR,
) -> RejectCurve:
    """Return FNMR at a fixed FMR as the images of lowest quality are rejected.

    To reject a share r of n images, the cut is the quality at place floor(r n), counted upwards
    from 0. Images below it go; those that equal it stay, so their order does not matter. A pair
    goes with either of its images. The threshold is found anew among the pairs that are left, so
    that their FMR does not exceed `fmr`.

    Args:
        scores: [pairs], larger is more alike.
        same: bool [pairs].
        pair_quality: [pairs], the lower quality of a pair's two images.
        image_quality: [images], each image that the pairs name once.
        fmr: false match rate.

    Raises:
        MarginfaceError: shapes do not fit, or pairs of one kind only.

    >>> curve = reject_curve([0.9, 0.1, 0.2], [True, True, False], [7, 2, 5], [9, 7, 5, 2])
    >>> for share, fnmr in zip(curve.share[:50:24], curve.fnmr[:50:24]):
    ...     print(f"{share:.0%} rejected: FNMR {fnmr:.0%}")
    0% rejected: FNMR 50%
    24% rejected: FNMR 50%
    48% rejected: FNMR 0%
    """
    score, truth = np.asarray(scores, np.float64), np.asarray(same, np.bool_)
    quality, images = np.asarray(pair_quality), np.sort(np.asarray(image_quality))
    if not score.shape == truth.shape == quality.shape or score.ndim != 1 or not images.size:
        raise MarginfaceError(
            "scores, same and pair_quality must be [pairs] and image_quality [images], got "
            f"{score.shape}, {truth.shape}, {quality.shape} and {images.shape}"
        )
    if truth.all() or not truth.any():
        raise MarginfaceError("rejecting by quality needs pairs that are same and different")
    cuts = images[np.arange(SHARES) * len(images) // 100]
    # A pair of quality q is left at the first searchsorted(cuts, q) shares.
    lasts = np.searchsorted(cuts, quality, side="right").astype(np.int32)
    same_scores, same_lasts = score[truth], lasts[truth]
    order = np.argsort(score[~truth])[::-1]
    wrong_scores, wrong_lasts = score[~truth][order], lasts[~truth][order]
    found: list[float] = []
    for at in range(SHARES):
        right = same_scores[same_lasts > at]
        cut = _cut(wrong_scores, wrong_lasts, at, fmr)
        if cut is None or not len(right):
            break
        found.append(float(np.mean(right <= cut)))
    return RejectCurve(fmr, np.arange(len(found)) / 100, np.array(found))


def _cut(descending: Floats, lasts: NDArray[np.int32], at: int, fmr: float) -> float | None:
    """Return the highest different score to be refused at share number `at`; None if none is left.

    It stands near the top, so that looking through growing heads of the scores is enough.
    """
    left = int(np.count_nonzero(lasts > at))
    if not left:
        return None
    accepted = allowed(fmr, left)
    if accepted == left:
        return -np.inf
    head = 2 * accepted + HEAD
    while True:
        kept = np.flatnonzero(lasts[:head] > at)
        if len(kept) > accepted:
            return float(descending[kept[accepted]])
        head *= 2
