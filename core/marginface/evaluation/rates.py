"""Exact true accept rates at false accept rates, with intervals.

Scores of two kinds are compared: right ones, which ought to be accepted (same pairs, mated probes),
and wrong ones, which ought not (different pairs, non-mated probes). Both are sorted whole, in
float64, so every rate is a count of scores; nothing is sampled, binned or interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, hypot, sqrt
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
        low, high: its interval, see `SortedScores.at`.
        threshold: scores >= it are accepted.
        false_accepts: number of wrong scores that are accepted.
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

        Two things are uncertain. The threshold: of W wrong scores, a number that is binomial (W,
        target) lies at or above the true one, so it lies between two of them, and between two
        neighbours for a tail that is hit exactly (R. Beran, P. Hall: Interpolated nonparametric
        prediction intervals and confidence intervals, Journal of the Royal Statistical Society B
        55, 1993). The rate there: Wilson's score interval (Wilson 1927). The two are independent,
        so their distances from the rate are added in squares (R. Newcombe: Interval estimation for
        the difference between independent proportions, Statistics in Medicine 17, 1998).

        Where too few wrong scores are expected above the threshold to bound it, `low` is 0 and the
        whole risk goes to `high`. The scores are taken to be independent; pairs that share images
        are not quite, which makes the interval too narrow.
        """
        cut = self._cuts(np.array([allowed(target, len(self.wrong))]))
        rate = float(self._rates(cut)[0])
        lowest, chances = binomial(len(self.wrong), target)
        tail = (1 - level) / 2
        strict = self._strict_rate(lowest, chances, tail)
        if strict is None:
            tail = 1 - level
        z = -NormalDist().inv_cdf(tail)
        low, high = wilson(rate * len(self.right), len(self.right), z)
        more = max(self._lenient_rate(lowest, chances, tail) - rate, 0.0)
        less = rate if strict is None else max(rate - strict, 0.0)
        low, high = rate - hypot(rate - low, less), rate + hypot(high - rate, more)
        return RateAt(
            rate=rate,
            low=0.0 if strict is None else max(low, 0.0),
            high=min(high, 1.0),
            threshold=float(np.nextafter(cut[0], np.inf)),
            false_accepts=int(self._accepted(self.wrong, cut)[0]),
        )

    def curve(self) -> tuple[Floats, Floats]:
        """Return false and true accept rates from (0, 0) to (1, 1), at `CURVE_POINTS` thresholds.

        They are equally far apart on a logarithmic axis of the false accept rate; with fewer wrong
        scores than that, every false accept rate that occurs is there.
        """
        wrong = len(self.wrong)
        steps = np.rint(np.geomspace(1, wrong, CURVE_POINTS)).astype(np.int64)
        cuts = self._cuts(np.unique(np.concatenate([[0], steps])))
        far = self._accepted(self.wrong, cuts) / wrong
        tar = self._accepted(self.right, cuts) / len(self.right)
        keep = np.append(True, np.diff(far) > 0)  # ties give the same point again
        return np.append(0.0, far[keep]), np.append(0.0, tar[keep])

    def _strict_rate(self, lowest: int, chances: Floats, tail: float) -> float | None:
        """Return the true accept rate at the strictest threshold within the interval.

        There at least `count` wrong scores lie at or above the true threshold, with those that tie
        with it. Right scores above the lowest of these are accepted wherever the threshold is. None
        where `count` may be 0: nothing bounds the threshold then.

        Args:
            lowest: number of wrong scores at or above the true threshold, of the first chance.
            chances: of that number and those after it.
            tail: how unlikely a stricter threshold is to be.
        """
        fewer = np.cumsum(chances) - chances
        last = int(np.searchsorted(fewer, tail, side="right")) - 1
        count = lowest + last
        if count == 0:
            return None
        one, next_one = self._rates(self._cuts(np.array([count - 1, count])))
        return float(one + (tail - fewer[last]) / chances[last] * (next_one - one))

    def _lenient_rate(self, lowest: int, chances: Floats, tail: float) -> float:
        """Return the true accept rate at the most lenient threshold within the interval."""
        more = np.cumsum(chances[::-1])[::-1] - chances
        first = int(np.argmax(more <= tail))
        count = lowest + first
        one, next_one = self._rates(self._cuts(np.array([max(count - 1, 0), count])))
        over = float(more[first] + chances[first])
        return float(one + min((over - tail) / chances[first], 1.0) * (next_one - one))

    def _rates(self, cuts: Floats) -> Floats:
        return np.asarray(self._accepted(self.right, cuts) / len(self.right))

    def _cuts(self, false_accepts: Counts) -> Floats:
        """Return the threshold for each number of false accepts: higher scores are accepted.

        It is the highest wrong score that must be refused, with all that tie with it.
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


def binomial(trials: int, share: float) -> tuple[int, Floats]:
    """Return the first number of hits with a relevant probability, and probabilities from it on.

    >>> lowest, chances = binomial(4, 0.5)
    >>> lowest, chances * 16
    (0, array([1., 4., 6., 4., 1.]))
    """
    if not 0 < share < 1:
        return (trials if share >= 1 else 0), np.ones(1)
    reach = 10 * sqrt(trials * share * (1 - share)) + 40
    lowest = max(floor(trials * share - reach), 0)
    hits = np.arange(lowest, min(ceil(trials * share + reach), trials))
    steps = np.log((trials - hits) / (hits + 1)) + np.log(share) - np.log1p(-share)
    logs = np.append(0.0, np.cumsum(steps))
    chances = np.exp(logs - logs.max())
    return lowest, np.asarray(chances / chances.sum())


def wilson(
    hits: float, trials: float, z: float = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
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
