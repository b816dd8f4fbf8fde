"""Confidence intervals of the accuracy at one threshold and of the equal error rate.

Both are shares of pairs, and their intervals are Wilson's (E. Wilson, Journal of the American
Statistical Association 22, 1927), made for what comes with the choice of the threshold.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.rates import wilson

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

# What the accuracy on the pairs that chose the threshold weighs at either end, beside that of pairs
# left out. Found by simulation, see benchmarks/intervals.py.
OPTIMISM_LOW, OPTIMISM_HIGH = 1 / 2, 2 / 3
LEAST_VARIANCE = 0.02  # of a decision at the equal error rate, to look for its neighbourhood


def one_threshold_interval(same: Counts, different: Counts, z: float) -> tuple[float, float]:
    """Return the interval (low, high) of the accuracy at the best single threshold on new pairs.

    On the pairs that chose it, a threshold does better than on others; pairs left out in turn, each
    judged by the threshold that the rest choose, do worse. The truth lies between. (Weights of the
    two stand in B. Efron: Estimating the error rate of a prediction rule, Journal of the American
    Statistical Association 78, 1983; these were measured for intervals.)

    Args:
        same, different: numbers of pairs accepted at each threshold, from none to all.
        z: normal quantile, such as 1.96 for 95 %.
    """
    correct = same + different[-1] - different
    pairs = int(same[-1] + different[-1])
    chosen = float(correct.max()) / pairs
    # Accepting all or none is right about the commoner kind; pairs left out can do worse by chance.
    left_out = max(_left_out(same, different), int(same[-1]), int(different[-1])) / pairs
    low, _ = _wilson(OPTIMISM_LOW * chosen + (1 - OPTIMISM_LOW) * left_out, pairs, z)
    _, high = _wilson(OPTIMISM_HIGH * chosen + (1 - OPTIMISM_HIGH) * left_out, pairs, z)
    return low, max(high, chosen)


def _left_out(same: Counts, different: Counts) -> int:
    """Count the pairs judged right by the threshold that is best on all other pairs."""
    correct = same + different[-1] - different
    refusing = np.maximum.accumulate(correct)[:-1]  # the best that is above a pair's score
    accepting = np.maximum.accumulate(correct[::-1])[::-1][1:]  # or not above it
    # Without a pair, thresholds that are right about it have one pair less. The strictest is taken.
    right_same = np.diff(same)[accepting - 1 > refusing]
    right_different = np.diff(different)[refusing - 1 >= accepting]
    return int(right_same.sum() + right_different.sum())


def eer_interval(same: Floats, different: Floats, eer: float, z: float) -> tuple[float, float]:
    """Return the interval (low, high) of an equal error rate.

    Errors of both rates move the point where they cross. To first order an error of each counts by
    the steepness of the other: the FRR's with weight w = f / (f + g), the FAR's with 1 - w, where
    f and g are the shares of different and same pairs around the threshold. So the rate scatters
    as that of n pairs,

        1 / n = w^2 / S + (1 - w)^2 / D

    Args:
        same, different: scores of the two kinds, sorted upwards, [pairs].
        eer: the rate.
        z: normal quantile, such as 1.96 for 95 %.
    """
    counts = len(same), len(different)
    reach = z * sqrt(max(eer * (1 - eer), LEAST_VARIANCE) * sum(1 / n for n in counts)) / 2
    ends = [
        (_at(same, eer - reach), _at(same, eer + reach)),
        (_at(different, 1 - eer - reach), _at(different, 1 - eer + reach)),
    ]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    near_same, near_different = (
        float(np.mean((scores >= low) & (scores <= high))) for scores in (same, different)
    )
    weight = near_different / (near_same + near_different)
    return _wilson(eer, 1 / (weight**2 / counts[0] + (1 - weight) ** 2 / counts[1]), z)


def _at(scores: Floats, share: float) -> float:
    """Return the quantile of sorted scores at this share."""
    return float(scores[min(max(int(share * len(scores)), 0), len(scores) - 1)])


def _wilson(share: float, trials: float, z: float) -> tuple[float, float]:
    return wilson(share * trials, trials, z)
