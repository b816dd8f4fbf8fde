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
HEAD = 50_000  # different pairs to look for a threshold among at first, those that score highest
SHARES = 96  # of images that are rejected: 0 % to 95 %
# Rounding a vector to float16 changes its norm by a share of up to 2^-11, and so does rounding the
# norm that it was divided by: among unit vectors the longest exceeds the shortest by up to 2^-9.
ROUNDING = 2**-9
NO_CURVE = (
    "no error versus reject curve: the model's embeddings all have one norm, which tells nothing "
    "of quality"
)

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


def norms_vary(shortest: float, longest: float) -> bool:
    """Return whether norms differ by more than rounding, so that they can tell quality.

    >>> norms_vary(0.9999, 1.0001), norms_vary(64.0, 64.02), norms_vary(0.99, 1.01)
    (False, False, True)
    """
    return longest > shortest * (1 + ROUNDING)


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
    lasts = np.searchsorted(cuts, quality, side="right").astype(np.uint8)
    same_scores, same_lasts = score[truth], lasts[truth]
    different = _Different(score[~truth], lasts[~truth])
    fnmr: list[float] = []
    for at in range(SHARES):
        right = same_scores[same_lasts > at]
        if not (len(right) and different.left[at]):
            break
        fnmr.append(float(np.mean(right <= different.cut(at, fmr))))
    return RejectCurve(fmr, np.arange(len(fnmr)) / 100, np.array(fnmr))


class _Different:
    """Scores of different pairs and the number of shares at which each is left.

    Only the highest of millions decide, so only they are sorted at first, and more where too few
    of those are left at some share.
    """

    def __init__(self, scores: Floats, lasts: NDArray[np.uint8]) -> None:
        self.scores, self.lasts = scores, lasts
        gone_after = np.bincount(lasts, minlength=SHARES + 1)
        self.left = (len(lasts) - np.cumsum(gone_after)).tolist()
        self._sort_highest(HEAD)

    def cut(self, at: int, fmr: float) -> float:
        """Return the highest score that must be refused at share number `at`."""
        accepted = allowed(fmr, self.left[at])
        if accepted == self.left[at]:
            return -np.inf
        while np.count_nonzero(self.head_lasts > at) <= accepted:
            self._sort_highest(4 * len(self.head))
        return float(self.head[self.head_lasts > at][accepted])

    def _sort_highest(self, count: int) -> None:
        rest = max(len(self.scores) - count, 0)
        highest = np.argpartition(self.scores, rest)[rest:]
        highest = highest[np.argsort(self.scores[highest])[::-1]]
        self.head, self.head_lasts = self.scores[highest], self.lasts[highest]
