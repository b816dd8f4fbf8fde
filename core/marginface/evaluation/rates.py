"""True accept rates at false accept rates, exactly, and how sure they are.

Scores of two kinds are compared: right ones, which ought to be accepted (same pairs, mated probes),
and wrong ones, which ought not (different pairs, non-mated probes). Both are sorted whole, in
float64, so every rate is a count of scores; nothing is sampled, binned or interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError

CONFIDENCE = 0.95
CURVE_POINTS = 1_000  # of a thinned ROC; each is exact

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RateAt:
    """A true accept rate at a false accept rate.

    Attributes:
        rate: the largest true accept rate whose false accept rate does not exceed the target.
        low, high: interval of at least the level asked for, see `SortedScores.at`.
        threshold: scores >= it are accepted.
        false_accepts: how many are accepted that ought not.
    """

    rate: float
    low: float
    high: float
    threshold: float
    false_accepts: int

    def __str__(self) -> str:
        return f"{self.rate:.2%} ({100 * self.low:.2f} to {100 * self.high:.2f})"


class SortedScores:
    """Right and wrong scores, each sorted upwards.

    A score of minus infinity is never accepted.

    >>> scores = SortedScores([0.9, 0.8, 0.3], [0.5, 0.3, 0.2, 0.1])
    >>> scores.at(0.25).rate  # one of four may be accepted; the tie at 0.3 is not
    0.6666666666666666
    """

    def __init__(self, right: ArrayLike, wrong: ArrayLike) -> None:
        self.right = _sorted(right)
        self.wrong = _sorted(wrong)

    def at(self, target: float, level: float = CONFIDENCE) -> RateAt:
        """Return the true accept rate at a false accept rate of `target`, with its interval.

        Two things are unsure. The threshold: of W wrong scores, target W are expected at or above
        the true one, give or take sqrt(target (1 - target) W), so it lies between two of them. The
        rate there: Wilson's score interval (Wilson 1927). Each is taken at half of 1 - level, so
        that both hold together at the level. The scores are taken to be independent; pairs that
        share images are not quite, which makes the interval too narrow.
        """
        wrong = len(self.wrong)
        cut = self._cuts(np.array([allowed(target, wrong)]))
        z = -NormalDist().inv_cdf((1 - level) / 4)
        spread = z * sqrt(target * (1 - target) * wrong)
        fewest = max(floor(target * wrong - spread), 0)
        most = min(ceil(target * wrong + spread), wrong)
        # `fewest` wrong scores or more lie at or above the true threshold or, where many tie there,
        # at what they tie with: what exceeds the lowest of them is accepted at any rate. The true
        # threshold lies above the next wrong score after the `most` highest.
        strict = self._cuts(np.array([fewest - 1])) if fewest else np.array([np.inf])
        low, _ = wilson(self._accepted(self.right, strict)[0], len(self.right), z)
        lenient = self._accepted(self.right, self._cuts(np.array([most])))[0]
        _, high = wilson(lenient, len(self.right), z)
        return RateAt(
            rate=float(self._accepted(self.right, cut)[0] / len(self.right)),
            low=low,
            high=high,
            threshold=float(np.nextafter(cut[0], np.inf)),
            false_accepts=int(self._accepted(self.wrong, cut)[0]),
        )

    def curve(self, points: int = CURVE_POINTS) -> tuple[Floats, Floats]:
        """Return false and true accept rates from (0, 0) to (1, 1) at about `points` thresholds.

        They are equally far apart on a logarithmic axis of the false accept rate; with fewer wrong
        scores than that, every false accept rate that occurs is there.
        """
        wrong = len(self.wrong)
        steps = np.rint(np.geomspace(1, wrong, points)).astype(np.int64)
        cuts = self._cuts(np.unique(np.concatenate([[0], steps])))
        far = self._accepted(self.wrong, cuts) / wrong
        tar = self._accepted(self.right, cuts) / len(self.right)
        keep = np.append(True, np.diff(far) > 0)  # ties give the same point again
        return np.append(0.0, far[keep]), np.append(0.0, tar[keep])

    def _cuts(self, false_accepts: Counts) -> Floats:
        """Return what scores must exceed so that at most so many wrong ones are accepted.

        That is the highest wrong score that may not be accepted; what ties with it is not, either.
        """
        refused = len(self.wrong) - 1 - false_accepts
        return np.where(refused < 0, -np.inf, self.wrong[np.maximum(refused, 0)])

    @staticmethod
    def _accepted(scores: Floats, cuts: Floats) -> Counts:
        return len(scores) - np.searchsorted(scores, cuts, side="right")


def rates_json(name: str, rates: Mapping[str, RateAt]) -> dict[str, Any]:
    """Return the rates at several targets as plain values for metrics.json."""
    return {
        name: {target: at.rate for target, at in rates.items()},
        f"{name}_interval": {target: [at.low, at.high] for target, at in rates.items()},
        f"{name}_threshold": {target: at.threshold for target, at in rates.items()},
    }


def allowed(target: float, count: int) -> int:
    """Return the largest k for which k / count, as floats divide, does not exceed `target`.

    >>> allowed(1e-3, 1000), allowed(1e-6, 15_638_932)
    (1, 15)
    """
    k = min(int(target * count) + 1, count)
    while k / count > target:
        k -= 1
    return k


def wilson(
    hits: int, trials: int, z: float = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) of a share of `hits` in `trials`.

    >>> low, high = wilson(9, 10)
    >>> round(low, 4), round(high, 4)
    (0.5958, 0.9821)
    """
    share = hits / trials
    middle = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Where no or all trials hit, the limit is 0 or 1 but for rounding.
    low = float((middle - spread) / scale) if hits else 0.0
    high = float((middle + spread) / scale) if hits < trials else 1.0
    return low, high


def _sorted(scores: ArrayLike) -> Floats:
    values = np.sort(np.asarray(scores, np.float64))
    if values.ndim != 1 or not len(values):
        raise MarginfaceError(f"scores must be [count] with at least one, got {values.shape}")
    if not values[-1] < np.inf:  # NaN sorts last
        raise MarginfaceError("scores are NaN or infinite; the embeddings behind them are broken")
    return values
