"""Thresholds for chosen false accept rates, and how sure a list of pairs can be of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, nan
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError
from marginface.evaluation.dependence import independent_pairs
from marginface.evaluation.rates import CONFIDENCE, Floats, SortedScores, binomial, wilson
from marginface.evaluation.verification import check_scores

LEAST_FAR = 1e-12
EXPECTED = 10  # false accepts that a list must be large enough to expect
Rate = tuple[float, float, float]  # a rate, and its interval
People = tuple[Sequence[str] | NDArray[np.str_], Sequence[str] | NDArray[np.str_]]


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


def check_far(far: object) -> float:
    """Return a false accept rate, a number or a text, as a float.

    >>> check_far("1e-3")
    0.001
    >>> check_far(2)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: far must be above 0 and below 1, such as 1e-3, got 2
    """
    try:
        rate = float(far)  # type: ignore[arg-type]  # what is no number is refused below
    except (TypeError, ValueError, OverflowError):
        rate = nan
    if not 0 < rate < 1:
        raise MarginfaceError(f"far must be above 0 and below 1, such as 1e-3, got {far!r}")
    if rate < LEAST_FAR:
        raise MarginfaceError(
            f"far must be at least {LEAST_FAR:g}, got {far!r}: no list of pairs shows less"
        )
    return rate


def check_fars(fars: Iterable[object]) -> list[float]:
    """Return false accept rates as floats, each once, the highest first."""
    wanted = {named(far): far for far in map(check_far, fars)}
    if not wanted:
        raise MarginfaceError("far must be one rate or more, such as 1e-3, got none")
    return sorted(wanted.values(), reverse=True)


def named(far: float) -> str:
    """Return the name of a false accept rate: rates that differ by rounding alone share it.

    >>> named(0.1 + 0.2), named(3e-1)
    ('0.3', '0.3')
    """
    return f"{far:g}"


def needed(far: float) -> int:
    """Return how many different pairs a list must have to show a false accept rate.

    >>> needed(1e-3)
    10000
    """
    return int(np.ceil(round(EXPECTED / far, 6)))


def thresholds(
    scores: ArrayLike,
    same: ArrayLike,
    fars: Iterable[float],
    people: People | None = None,
    level: float = CONFIDENCE,
) -> tuple[Threshold, ...]:
    """Return the threshold for each false accept rate, the highest rate first.

    Of W different pairs, a number K that is binomial (W, FAR) scores at or above the true
    threshold. So it lies between the scores of two ranks, a and b, with P(K < a) and P(K > b) of at
    most (1 - level) / 2 each: an interval that no distribution of scores makes too narrow. Pairs
    that share people are worth fewer; ranks are those of so many (`independent_pairs`).

    Args:
        scores: cosines [pairs], larger is more alike.
        same: whether a pair shows one person, [pairs].
        fars: false accept rates, each between 0 and 1.
        people: the person of the first and of the second image of each pair; None if no person is
            in two pairs.
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
    wanted = check_fars(fars)
    ordered = SortedScores(score[truth], score[~truth])
    found = []
    for far in wanted:
        value = ordered.at(far, level).threshold
        false_accepts, trials = rate_of(score >= value, ~truth, people, level)
        low, high = _ends(ordered.wrong[::-1], far, max(round(trials), 1), (1 - level) / 2)
        found.append(
            Threshold(
                far=far,
                value=value,
                low=min(low, value),  # which ties can put beyond an end
                high=max(high, value),
                supported=len(ordered.wrong) >= needed(far),
                false_accepts=false_accepts,
                true_accepts=rate_of(score >= value, truth, people, level)[0],
            )
        )
    return tuple(found)


def rate_of(
    accepted: NDArray[np.bool_],
    kind: NDArray[np.bool_],
    people: People | None = None,
    level: float = CONFIDENCE,
) -> tuple[Rate, float]:
    """Return the share of a kind of pairs that is accepted, and how many pairs these are worth.

    Args:
        accepted, kind: [pairs].
        people: as of `thresholds`.
        level: of the interval, Wilson's.
    """
    hits, trials = accepted[kind], float(np.sum(kind))
    if people is not None:
        first, second = (np.asarray(side)[kind] for side in people)
        trials = independent_pairs(hits, first, second)
    share = float(np.mean(hits))
    z = NormalDist().inv_cdf((1 + level) / 2)
    return (share, *wilson(share * trials, trials, z)), trials


def _ends(falling: Floats, far: float, trials: int, tail: float) -> tuple[float, float]:
    """Return the scores, of those sorted downwards, that the true threshold lies between."""
    first, chances = binomial(trials, far)
    below = np.cumsum(chances)  # P(K <= first + i)
    least, most = first + int(np.argmax(below > tail)), first + int(np.argmax(1 - below <= tail))
    each = len(falling) / trials  # pairs for one that is independent
    above, under = int(least * each), ceil(most * each)
    return (
        float(falling[under]) if under < len(falling) else -1.0,
        float(falling[above - 1]) if above else 1.0,
    )
