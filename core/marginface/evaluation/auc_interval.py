"""A confidence interval of the area under the ROC.

The interval holds every area t with (a - t)^2 <= z^2 c V(t), a being the area that was observed:
a score interval as Wilson's of a share, so it has a width and stays in 0..1 where a is 1, too.

V(t) is Hanley and McNeil's variance for exponential scores in Newcombe's form (R. Newcombe:
Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2,
Statistics in Medicine 25, 2006, method 5):

    V(t) = t (1 - t) (1 + (N - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (S D),    N = (S + D) / 2

for S same and D different pairs. c fits it to the scores at hand: with many pairs on the wrong side
it is the ratio to the variance that DeLong's estimate gives (E. DeLong, D. DeLong, D.
Clarke-Pearson, Biometrics 44, 1988), so that large sets have DeLong's interval; where few or none
are, that estimate says little, and c is near 1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 1.0  # pairs on the wrong side that V counts as, beside those that DeLong's estimate has
HALVINGS = 60  # of the range in which an end is looked for


def auc_interval(same: Floats, different: Floats, z: float) -> tuple[float, float]:
    """Return the interval (low, high) of an AUC.

    Args:
        same, different: scores of the two kinds, [pairs].
        z: normal quantile, such as 1.96 for 95 %.

    >>> low, high = auc_interval(np.arange(10.0) + 10, np.arange(10.0), 1.96)
    >>> round(low, 3), high
    (0.8, 1.0)
    """
    first, second = _placements(same, different), 1 - _placements(different, same)
    area = float(first.mean())
    counts = len(same), len(different)
    scale = 1.0
    if min(counts) > 1 and 0 < area < 1:
        delong = first.var(ddof=1) / counts[0] + second.var(ddof=1) / counts[1]
        wrong = min(area, 1 - area) * 2 * counts[0] * counts[1] / sum(counts)
        ratio = float(delong) / _variance(area, *counts)
        scale = (wrong * ratio + PRIOR) / (wrong + PRIOR)

    def reach(limit: float) -> float:
        return z * sqrt(scale * _variance(limit, *counts))

    low = 1 - _end(1 - area, lambda limit: reach(1 - limit)) if area else 0.0
    return low, _end(area, reach) if area < 1 else 1.0


def _end(area: float, reach: Callable[[float], float]) -> float:
    """Return the highest limit that is no further above the area than it reaches."""
    inside, outside = area, 1.0
    for _ in range(HALVINGS):
        limit = (inside + outside) / 2
        if limit - area <= reach(limit):
            inside = limit
        else:
            outside = limit
    return inside


def _placements(scores: Floats, others: Floats) -> Floats:
    """Return, for each score, the share of the others below it; a tie counts half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores) + np.searchsorted(ordered, scores, side="right")
    return np.asarray(below / (2 * len(others)))


def _variance(area: float, same: int, different: int) -> float:
    mean = (same + different) / 2
    spread = 1 + (mean - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    return max(area * (1 - area) * spread / (same * different), 0.0)
