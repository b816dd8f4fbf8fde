"""Two records of the same bench: how much faster the new one is, and how sure that is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.benchmarking.cost import Cost
from marginface.errors import MarginfaceError

RESAMPLES = 4000
LEVEL = (0.025, 0.975)
Interval = tuple[float, float, float]  # estimate, low and high end


@dataclass(frozen=True)
class Change:
    """How the cost of one rival has changed.

    Args:
        backend: as in both records.
        case: the same.
        name: the same.
        medians: seconds, old and new.
        time: new over old time, with its interval.
        over_base: the same of the times as multiples of the base's in the same round, which cancel
            how fast the machine was; for the base itself, 1.
    """

    backend: str
    case: str
    name: str
    medians: tuple[float, float]
    time: Interval
    over_base: Interval

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" where the interval of `over_base` excludes 1."""
        _, low, high = self.over_base
        return "faster" if high < 1 else "slower" if low > 1 else ""


def compare(old: Sequence[Cost], new: Sequence[Cost]) -> list[Change]:
    """Return the changes of what both records have.

    Raises:
        MarginfaceError: they have nothing in common.
    """
    before = {(cost.backend, cost.case, cost.name): cost for cost in old}
    changes = []
    for cost in new:
        earlier = before.get((cost.backend, cost.case, cost.name))
        if earlier is not None:
            changes.append(
                Change(
                    cost.backend,
                    cost.case,
                    cost.name,
                    (statistics.median(earlier.seconds), statistics.median(cost.seconds)),
                    ratio_interval(earlier.seconds, cost.seconds),
                    ratio_interval(_over_base(earlier), _over_base(cost)),
                )
            )
    if not changes:
        raise MarginfaceError(
            "the two records have no backend, case and name in common; compare two of the same "
            "bench with the same options"
        )
    return changes


def ratio_interval(old: Sequence[float], new: Sequence[float]) -> Interval:
    """Return the ratio of the medians, new over old, and its 95 % bootstrap interval.

    >>> ratio_interval([2.0, 2.0], [1.0, 1.0])
    (0.5, 0.5, 0.5)
    """
    rng = np.random.default_rng(0)
    ratios = _medians(new, rng) / _medians(old, rng)
    low, high = np.quantile(ratios, LEVEL)
    return statistics.median(new) / statistics.median(old), float(low), float(high)


def _medians(values: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    drawn = rng.choice(np.asarray(values, np.float64), (RESAMPLES, len(values)))
    medians: NDArray[np.float64] = np.median(drawn, axis=1)
    return medians


def _over_base(cost: Cost) -> list[float]:
    return [own / of for own, of in zip(cost.seconds, cost.base_seconds, strict=True)]
