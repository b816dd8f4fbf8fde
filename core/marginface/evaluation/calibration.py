"""Thresholds for chosen false accept rates, and how sure a list of pairs can be of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from marginface.checks import check_rate
from marginface.errors import MarginfaceError
from marginface.evaluation.rates import CONFIDENCE, SortedScores, binomial, wilson
from marginface.evaluation.verification import check_scores

EXPECTED = 10  # false accepts that a list must be large enough to expect
Rate = tuple[float, float, float]  # a rate, and its interval


@dataclass(frozen=True)
class Threshold:
    """A threshold for a false accept rate (FAR).

    Attributes:
        far: the rate that was asked for.
        value: scores >= it are accepted; the lowest that keeps to the rate on the list.
        low, high: the interval that the threshold of the true rate lies in.
        supported: whether the list can show the rate: it has at least 10 / FAR different pairs.
        false_accepts: share of different pairs that are accepted at `value`, with its interval.
        true_accepts: share of same pairs that are accepted, with its interval.
    """

    far: float
    value: float
    low: float
    high: float
    supported: bool
    false_accepts: Rate
    true_accepts: Rate


def needed(far: float) -> int:
    """Return how many different pairs a list must have to show a false accept rate.

    >>> needed(1e-3)
    10000
    """
    return int(np.ceil(round(EXPECTED / far, 6)))


def thresholds(
    scores: ArrayLike, same: ArrayLike, fars: Iterable[float], level: float = CONFIDENCE
) -> tuple[Threshold, ...]:
    """Return the threshold for each false accept rate, the highest rate first.

    Of W different pairs, a number K that is binomial (W, FAR) scores at or above the true
    threshold. So it lies between the scores of two ranks, a and b, with P(K < a) and P(K > b) of at
    most (1 - level) / 2 each: an interval that no distribution of scores makes too narrow.

    Pairs are taken to be independent. Those that share a person or an image are not quite, and the
    truth is a little wider.

    Args:
        scores: cosines [pairs], larger is more alike.
        same: whether a pair shows one person, [pairs].
        fars: false accept rates, each between 0 and 1.
        level: of the intervals.

    Raises:
        MarginfaceError: as `verify`, or a rate out of range.

    >>> rng = np.random.default_rng(0)
    >>> scores = np.concatenate([rng.normal(0.6, 0.1, 1000), rng.normal(0, 0.1, 1000)])
    >>> (found,) = thresholds(scores, np.arange(2000) < 1000, [0.1])
    >>> round(found.low, 3), round(found.value, 3), round(found.high, 3), found.supported
    (0.121, 0.131, 0.143, True)

    Source: order statistics as limits of a quantile: W. Thompson, On confidence ranges for the
    median and other expectation distributions, Annals of Mathematical Statistics 7, 1936.
    """
    score, truth = check_scores(scores, same)
    ordered = SortedScores(score[truth], score[~truth])
    wanted = sorted({check_rate("far", far) for far in fars}, reverse=True)
    if not wanted or wanted[-1] <= 0:
        raise MarginfaceError("far must be above 0 and below 1, such as 1e-3")
    return tuple(_threshold(ordered, far, level) for far in wanted)


def _threshold(scores: SortedScores, far: float, level: float) -> Threshold:
    at, wrong = scores.at(far, level), scores.wrong
    first, chances = binomial(len(wrong), far)
    tail = (1 - level) / 2
    below = np.cumsum(chances)  # P(K <= first + i)
    most = first + int(np.argmax(1 - below <= tail))  # b
    least = first + int(np.argmax(below > tail))  # a
    falling = wrong[::-1]
    z = -NormalDist().inv_cdf(tail)
    false_accepts = at.false_accepts / len(wrong)
    return Threshold(
        far=far,
        value=at.threshold,
        low=float(falling[most]) if most < len(wrong) else -1.0,
        high=float(falling[least - 1]) if least else 1.0,
        supported=len(wrong) >= needed(far),
        false_accepts=(false_accepts, *wilson(at.false_accepts, len(wrong), z)),
        true_accepts=(at.rate, at.low, at.high),
    )
