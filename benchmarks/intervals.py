"""How often the intervals of verification hold the truth, on simulated sets of pairs.

    python benchmarks/intervals.py                  # 1,000 sets of each kind, some minutes
    python benchmarks/intervals.py --sets 200 --pairs 10,10 --pairs 10,50

Scores are drawn from distributions whose figures are known. A cell is the share of sets in which
the interval, of nominally 95 %, holds the truth; 95 % of 1,000 sets are 92.9 to 97.1 % with three
standard deviations. The accuracy at one threshold has two truths: that of the best threshold that
there is, and that of the threshold which the set chose, both on new pairs. TAR has none that few
pairs can tell where a FAR admits no false accept: the interval starts at 0 and holds it more often.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from harness import show
from rich.progress import track

from marginface.evaluation.intervals import FEWEST, Intervals, intervals
from marginface.evaluation.verification import VerificationResult, verify

TRUTH = 1_000_000  # scores of each kind that stand for a distribution
RESAMPLES = 200
FIGURES = (
    *("AUC", "one threshold, best", "one threshold, chosen", "folds", "EER"),
    *("TAR@1e-1", "TAR@1e-2", "TAR@1e-3"),
)
SIZES = ((10, 10), (20, 20), (30, 30), (50, 50), (10, 50), (50, 10), (200, 200), (1000, 1000))

Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(mean: float, spread: float = 1.0) -> Draw:
    return lambda rng, count: rng.normal(mean, spread, count)


def student(shift: float) -> Draw:
    return lambda rng, count: rng.standard_t(3, count) + shift


def exponential(mean: float) -> Draw:
    return lambda rng, count: rng.exponential(mean, count)


def mixed(share: float, mean: float, other: float) -> Draw:
    """Return draws around `mean`, but for a share of them around `other`: wrong labels."""
    return lambda rng, count: rng.normal(np.where(rng.random(count) < share, other, mean), 1)


def apart(auc: float, spread: float = 1.0) -> float:
    """Return how far two normal distributions are apart that have an AUC."""
    return float(NormalDist().inv_cdf(auc) * np.hypot(1, spread))


KINDS: dict[str, tuple[Draw, Draw]] = {
    **{f"normal, AUC {auc}": (normal(apart(auc)), normal(0)) for auc in (0.7, 0.9, 0.98, 0.995)},
    "normal, same pairs twice as wide": (normal(apart(0.9, 2), 2), normal(0)),
    "normal, different ones": (normal(apart(0.9, 2)), normal(0, 2)),
    "exponential": (exponential(9), exponential(1)),
    "Student's t, 3 degrees": (student(3), student(0)),
    "3 % wrong labels": (mixed(0.03, 4, 0), mixed(0.03, 0, 4)),
}


@dataclass(frozen=True)
class Population:
    """Sorted scores of both kinds, so many that their figures are the truth."""

    same: np.ndarray
    different: np.ndarray

    def accuracy(self, threshold: np.ndarray, same: int, different: int) -> np.ndarray:
        tar = 1 - np.searchsorted(self.same, threshold) / TRUTH
        far = 1 - np.searchsorted(self.different, threshold) / TRUTH
        return (same * tar + different * (1 - far)) / (same + different)

    def truth(self, same: int, different: int) -> dict[str, float]:
        grid = np.quantile(np.append(self.same, self.different), np.linspace(0, 1, 20_001))
        below = np.searchsorted(self.different, self.same)
        frr = np.searchsorted(self.same, grid) / TRUTH
        far = 1 - np.searchsorted(self.different, grid) / TRUTH
        crossing = np.argmax(frr >= far)
        tars = {
            f"TAR@{target}": np.mean(self.same >= np.quantile(self.different, 1 - float(target)))
            for target in ("1e-1", "1e-2", "1e-3")
        }
        return {
            "AUC": below.mean() / TRUTH,
            "one threshold, best": self.accuracy(grid, same, different).max(),
            "EER": (frr[crossing] + far[crossing]) / 2,
            **tars,
        }


def measure(
    draws: tuple[Draw, Draw], same: int, different: int, sets: int, seed: int
) -> dict[str, float]:
    """Return the share of sets in which each interval holds the truth."""
    rng = np.random.default_rng(seed)
    population = Population(*(np.sort(draw(rng, TRUTH)) for draw in draws))
    truth = population.truth(same, different)
    flags = np.arange(same + different) < same
    measured: list[tuple[VerificationResult, Intervals]] = []
    for _ in range(sets):
        scores = np.concatenate([draws[0](rng, same), draws[1](rng, different)])
        ends = intervals(scores, flags, resamples=RESAMPLES)
        measured.append((verify(scores, flags), ends))
    truth["folds"] = float(np.mean([result.accuracy for result, _ in measured]))
    held = dict.fromkeys(FIGURES, 0)
    for result, ends in measured:
        chosen = population.accuracy(np.array(result.threshold), same, different)
        own = {**truth, "one threshold, chosen": float(chosen)}
        for name, interval in named(ends).items():
            held[name] += interval[0] - 1e-12 <= own[name] <= interval[1] + 1e-12
    shares = {name: count / sets for name, count in held.items()}
    if min(same, different) < FEWEST:
        shares["folds"] = np.nan
    return shares


def named(ends: Intervals) -> dict[str, tuple[float, float]]:
    return {
        "AUC": ends.auc,
        "one threshold, best": ends.best_accuracy,
        "one threshold, chosen": ends.best_accuracy,
        "EER": ends.eer,
        **({} if ends.accuracy is None else {"folds": ends.accuracy}),
        **{f"TAR@{target}": ends.tar_at_far[target] for target in ("1e-1", "1e-2", "1e-3")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--pairs", action="append", help="same,different; again for more")
    options = parser.parse_args()
    sizes = [tuple(map(int, text.split(","))) for text in options.pairs or []] or SIZES
    for same, different in sizes:
        rows = []
        for seed, (name, draws) in enumerate(track(KINDS.items(), transient=True)):
            shares = measure(draws, same, different, options.sets, seed)
            cells = (shares[figure] for figure in FIGURES)
            rows.append((name, *("" if np.isnan(cell) else f"{100 * cell:.1f}" for cell in cells)))
        title = f"{same} + {different} pairs, {options.sets:,} sets: % that hold the truth"
        show(title, ("scores",), FIGURES, rows)


if __name__ == "__main__":
    main()
