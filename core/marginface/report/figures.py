"""The numbers behind the report's plots, as plain values for JSON."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.comparison import Comparison
from marginface.report.collect import Measured

EXACT_THRESHOLDS = 20_000  # distinct scores that are all kept: 0.4 MB in the page
THINNED_THRESHOLDS = 4_000
BINS = 60


def accept_counts(row: Comparison) -> dict[str, Any]:
    """Count the pairs of each kind accepted at each distinct score, ascending.

    The page recounts from these: at a threshold t, those of the lowest kept score >= t. A set with
    more than `EXACT_THRESHOLDS` distinct scores keeps some: closely where few different pairs are
    accepted, evenly elsewhere, and the one that the best threshold needs.
    """
    scores, same = row.pair_scores.scores, row.pairs.same
    thresholds = np.unique(scores)
    accepted = {
        kind: len(chosen) - np.searchsorted(np.sort(chosen), thresholds)
        for kind, chosen in (("same", scores[same]), ("different", scores[~same]))
    }
    exact = len(thresholds) <= EXACT_THRESHOLDS
    if not exact:
        best = int(np.searchsorted(thresholds, row.result.threshold))
        kept_indices = _thinned(accepted["different"], min(best, len(thresholds) - 1))
        thresholds = thresholds[kept_indices]
        accepted = {kind: counts[kept_indices] for kind, counts in accepted.items()}
    return {
        "exact": exact,
        "thresholds": _encoded(thresholds, "<f8"),
        "same": _encoded(accepted["same"], "<u4"),
        "different": _encoded(accepted["different"], "<u4"),
    }


def _thinned(different: NDArray[np.int64], best: int) -> NDArray[np.int64]:
    """Choose the thresholds to keep, given how many different pairs each accepts (falling)."""
    half = THINNED_THRESHOLDS // 2
    evenly = np.linspace(0, len(different) - 1, half).astype(np.int64)
    counts = np.geomspace(1, different[0], half)
    closely = np.searchsorted(-different, -counts, side="right") - 1
    return np.unique(np.concatenate([evenly, closely, [best]]))


def _encoded(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def histogram(row: Comparison) -> dict[str, Any]:
    """Return the edges of equal bins and the number of pairs of each kind in each."""
    scores, same = row.pair_scores.scores, row.pairs.same
    edges = np.histogram_bin_edges(scores, BINS)
    return {
        "edges": edges.tolist(),
        "same": np.histogram(scores[same], edges)[0].tolist(),
        "different": np.histogram(scores[~same], edges)[0].tolist(),
    }


def curves(measured: Measured) -> dict[str, Any]:
    """Return the error versus reject curve and the CMC, each None where there is none."""
    rejection, identification = measured.rejection, measured.identification
    return {
        "reject": None
        if rejection is None
        else {"share": rejection.share.tolist(), "fnmr": rejection.fnmr.tolist()},
        "cmc": None
        if identification is None
        else {
            "rate": identification.cmc.tolist(),
            "probes": identification.mated,
            "subjects": identification.subjects,
        },
    }
