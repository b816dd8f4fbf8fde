"""Ten-fold verification of 6,000 pairs: ours beside a loop over thresholds as InsightFace does it.

python benchmarks/verification.py --rounds 7 --output verification.json

The loop is written anew after InsightFace's published protocol: squared L2 of unit vectors; 400
thresholds from 0 to 4, strict <; ten contiguous folds; at every threshold TPR, FPR and accuracy of
the training folds and of the test fold; the first best one applied; then TAR at FAR 1e-3, its
threshold interpolated on the same grid over the training folds (InsightFace's has 4,000 there).
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import typer
from harness import Work, interleave, show, spread, write

from marginface.evaluation.intervals import intervals
from marginface.evaluation.verification import verify
from marginface.vectors import pair_scores

FAR = 1e-3
LOOP = "loop over thresholds"


def main(
    pairs: int = 6000,
    size: int = 512,
    folds: int = 10,
    thresholds: int = 400,
    rounds: int = 7,
    repeats: int = 2,
    seed: int = 0,
    output: Path | None = None,
) -> None:
    """Time both from embeddings and from scores, and compare what they find."""
    unit, same = unit_embeddings(pairs, size, folds, seed)
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    grid = np.arange(thresholds) * (4 / thresholds)
    distances = squared_distances(unit[first], unit[second])
    scores = pair_scores(unit, first, second)

    ours, theirs = verify(scores, same, folds), loop(distances, same, folds, grid)
    # Scores that tell apart what the grid does, to compare the same choice of thresholds.
    steps = -np.searchsorted(grid, distances, side="right").astype(float)
    on_grid = verify(steps, same, folds)
    apart = abs(on_grid.accuracy - theirs[0]) * pairs
    print(
        f"accuracy, exact {ours.accuracy:.3%}, on the grid {on_grid.accuracy:.3%}, of the loop "
        f"{theirs[0]:.3%}; TAR at FAR {FAR:g} {ours.tar_at_far['1e-3']:.2%} and {theirs[1]:.2%}"
    )
    if apart > 1.01:
        raise SystemExit(f"on one grid the accuracies are {apart:.1f} pairs apart")

    rivals: dict[str, Work] = {
        LOOP: lambda: loop(distances, same, folds, grid),
        "verify": lambda: verify(scores, same, folds),
        "intervals, 1,000 resamples": lambda: intervals(scores, same, folds),
    }
    from_embeddings: dict[str, Work] = {
        LOOP: lambda: loop(squared_distances(unit[first], unit[second]), same, folds, grid),
        "pair_scores and verify": lambda: verify(pair_scores(unit, first, second), same, folds),
    }
    results = {
        "from scores": interleave(rivals, rounds=rounds, repeats=repeats),
        "from embeddings": interleave(from_embeddings, rounds=rounds, repeats=repeats),
    }
    rows = [
        (case, name, f"{1000 * statistics.median(values):.1f}", *spread(seconds, LOOP, name))
        for case, seconds in results.items()
        for name, values in seconds.items()
    ]
    title = f"verification, {pairs:,} pairs, {folds} folds, {thresholds} thresholds"
    show(title, ("case", "what"), ("ms", "times faster", "smallest", "largest"), rows)
    write(output, pairs=pairs, seconds=results)


def unit_embeddings(pairs: int, size: int, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings [2 * pairs, size], float32, and flags [pairs], as far apart as on LFW."""
    rng = np.random.default_rng(seed)
    same = (np.arange(pairs) // (pairs // folds // 2)) % 2 == 0
    centers = rng.normal(size=(2, pairs, size))
    centers[1, same] = centers[0, same]
    quality = rng.uniform(0.6, 2.2, (2, pairs, 1))  # some images are hard
    values = (centers + quality * rng.normal(size=(2, pairs, size))).reshape(2 * pairs, size)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit.astype(np.float32), same


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sum(np.square(first - second), axis=1)


def loop(
    distances: np.ndarray, same: np.ndarray, folds: int, grid: np.ndarray
) -> tuple[float, float]:
    """Return mean accuracy and mean TAR at `FAR` over the folds."""
    blocks = np.array_split(np.arange(len(distances)), folds)
    accuracies, rates = [], []
    for block in blocks:
        train = np.ones(len(distances), bool)
        train[block] = False
        learned = [accuracy_at(threshold, distances[train], same[train]) for threshold in grid]
        tested = [accuracy_at(threshold, distances[block], same[block]) for threshold in grid]
        best = int(np.argmax([accuracy for _, _, accuracy in learned]))
        accuracies.append(tested[best][2])

        far = [rates_at(threshold, distances[train], same[train])[1] for threshold in grid]
        threshold = float(np.interp(FAR, far, grid)) if max(far) >= FAR else 0.0
        rates.append(rates_at(threshold, distances[block], same[block])[0])
    return float(np.mean(accuracies)), float(np.mean(rates))


def accuracy_at(
    threshold: float, distances: np.ndarray, same: np.ndarray
) -> tuple[float, float, float]:
    """Return TPR, FPR and accuracy where what is nearer than the threshold is called same."""
    called = np.less(distances, threshold)
    true_accepts = np.sum(np.logical_and(called, same))
    false_accepts = np.sum(np.logical_and(called, np.logical_not(same)))
    true_rejects = np.sum(np.logical_and(np.logical_not(called), np.logical_not(same)))
    false_rejects = np.sum(np.logical_and(np.logical_not(called), same))
    positives, negatives = true_accepts + false_rejects, true_rejects + false_accepts
    tpr = float(true_accepts) / float(positives) if positives else 0.0
    fpr = float(false_accepts) / float(negatives) if negatives else 0.0
    return tpr, fpr, float(true_accepts + true_rejects) / distances.size


def rates_at(threshold: float, distances: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Return TAR and FAR where what is nearer than the threshold is called same."""
    called = np.less(distances, threshold)
    true_accepts = np.sum(np.logical_and(called, same))
    false_accepts = np.sum(np.logical_and(called, np.logical_not(same)))
    tar = float(true_accepts) / float(max(np.sum(same), 1))
    return tar, float(false_accepts) / float(max(np.sum(np.logical_not(same)), 1))


if __name__ == "__main__":
    typer.run(main)
