"""Identification (1:N): probes are searched in a gallery; closed set (CMC) and open set (TPIR).

A mated probe's subject is in the gallery, a non-mated one's is not. A subject with several
embeddings in the gallery has the largest of their scores. Cosines are summed in float64 and
compared as float32, so that equal embeddings tie in whatever order a matrix product sums them. Ties
count against the system: the probe's own subject comes last among those that score the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError
from marginface.evaluation.rates import RateAt, SortedScores, rates_json, wilson
from marginface.vectors import embedding_norms

FPIR_TARGETS = ("1e-2", "1e-1")
THRESHOLDS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")
RANKS = (1, 5, 10)  # of the table
MAX_RANK = 100  # of the CMC
SCORES_AT_ONCE = 4_000_000  # bounds a chunk of probes against the whole gallery: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Searches:
    """Results of searching each probe in the gallery, [probes].

    Attributes:
        mated: whether the probe's subject is in the gallery.
        score: of its own subject where mated, else the highest of any.
        rank: 1 + the number of other subjects that score as high or higher; 0 where not mated.
        names: of the gallery's subjects, sorted.
        best: the subjects with the highest scores, as places in `names`, [probes, top]; one that
            shares its score comes before the probe's own, so that the own stands at its rank.
        best_score: of those, [probes, top].
    """

    mated: NDArray[np.bool_]
    score: NDArray[np.float32]
    rank: NDArray[np.int64]
    names: NDArray[Any]
    best: NDArray[np.int64]
    best_score: NDArray[np.float32]

    @property
    def subjects(self) -> int:
        """Number of subjects in the gallery."""
        return len(self.names)


@dataclass(frozen=True)
class Share:
    """A share of 1 with its interval (Wilson, 95 %)."""

    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, trials: int) -> Self:
        """Return `hits` of `trials`."""
        return cls(hits / trials, *wilson(hits, trials))

    def __str__(self) -> str:
        return f"{self.rate:.2%} ({100 * self.low:.2f} to {100 * self.high:.2f})"


@dataclass(frozen=True, eq=False)
class IdentificationResult:
    """Figures of `identify`; rates are fractions of 1.

    Attributes:
        hits: number of mated probes with their subject at rank 1, 2, ... or better; empty without
            mated probes.
        tpir: share of mated probes whose subject scores over the threshold, at each FPIR, which is
            the share of non-mated probes that find anybody over it; none where either is missing.
        dir: the same where the subject must be at rank 1, too (detection and identification rate).
        curve: FPIR and TPIR, thinned.
        fpir: at each of `THRESHOLDS`; none without non-mated probes.
        threshold: at each of `FPIR_TARGETS`, likewise.
    """

    subjects: int
    mated: int
    non_mated: int
    hits: NDArray[np.int64]
    tpir: dict[str, RateAt]
    dir: dict[str, RateAt]
    curve: tuple[Floats, Floats]
    fpir: dict[str, Share]
    threshold: dict[str, float]

    @property
    def cmc(self) -> Floats:
        """Return the cumulative match characteristic: the identification rate at each rank."""
        return self.hits / max(self.mated, 1)

    def at_rank(self, rank: int) -> float:
        """Return the identification rate at a rank, which needs a mated probe."""
        return float(self.cmc[min(rank, len(self.hits)) - 1])

    @property
    def ranks(self) -> dict[str, Share]:
        """Return the identification rates at `RANKS`; none without mated probes."""
        if not self.mated:
            return {}
        hits = {rank: int(self.hits[min(rank, len(self.hits)) - 1]) for rank in RANKS}
        return {str(rank): Share.of(count, self.mated) for rank, count in hits.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        far, tar = self.curve
        return {
            "subjects": self.subjects,
            "mated_probes": self.mated,
            "non_mated_probes": self.non_mated,
            **_shares_json("rank", self.ranks),
            **rates_json("tpir_at_fpir", self.tpir),
            **rates_json("dir_at_fpir", self.dir),
            **_shares_json("fpir_at_threshold", self.fpir),
            "threshold_at_fpir": self.threshold,
            "cmc": self.cmc.tolist(),
            "roc": {"far": far.tolist(), "tar": tar.tolist()},
        }


def identify(
    gallery: ArrayLike, gallery_subjects: ArrayLike, probes: ArrayLike, probe_subjects: ArrayLike
) -> IdentificationResult:
    """Search probes [probes, size] in a gallery [entries, size]; measure ranks and rates.

    Raises:
        MarginfaceError: shapes do not fit, or an embedding has no direction.

    >>> gallery, probes = [[1.0, 0.0], [0.0, 1.0]], [[0.9, 0.1], [1.0, 1.0]]
    >>> identify(gallery, ["ann", "bo"], probes, ["ann", "bo"]).cmc  # the second probe ties
    array([0.5, 1. ])
    """
    return measure(search(gallery, gallery_subjects, probes, probe_subjects))


def measure(searches: Searches, known: NDArray[np.bool_] | None = None) -> IdentificationResult:
    """Measure searches: rank rates of mated probes, FPIR of the others, TPIR of both.

    Args:
        searches: the searches.
        known: [probes], whether it is known whom a probe shows; others do not count.
    """
    counted = slice(None) if known is None else known
    mated, rank = searches.mated[counted], searches.rank[counted]
    ranks = np.bincount(rank[mated], minlength=MAX_RANK + 1)
    hits = np.cumsum(ranks)[1 : min(MAX_RANK, searches.subjects) + 1] if mated.any() else ranks[:0]
    score = searches.score[counted].astype(np.float64)
    mated_scores, other_scores = score[mated], score[~mated]
    tpir, dir_, curve = {}, {}, (np.empty(0), np.empty(0))
    fpir, threshold = {}, {}
    if len(other_scores):
        scores = SortedScores(mated_scores if len(mated_scores) else [-np.inf], other_scores)
        for text in THRESHOLDS:
            fpir[text] = Share.of(int(np.sum(other_scores >= float(text))), len(other_scores))
        threshold = {target: scores.at(float(target)).threshold for target in FPIR_TARGETS}
    if len(other_scores) and len(mated_scores):
        first = SortedScores(np.where(rank[mated] == 1, mated_scores, -np.inf), other_scores)
        tpir = {target: scores.at(float(target)) for target in FPIR_TARGETS}
        dir_ = {target: first.at(float(target)) for target in FPIR_TARGETS}
        curve = scores.curve()
    return IdentificationResult(
        searches.subjects,
        len(mated_scores),
        len(other_scores),
        hits,
        tpir,
        dir_,
        curve,
        fpir,
        threshold,
    )


def search(
    gallery: ArrayLike,
    gallery_subjects: ArrayLike,
    probes: ArrayLike,
    probe_subjects: ArrayLike,
    *,
    top: int = 1,
    scores_at_once: int = SCORES_AT_ONCE,
) -> Searches:
    """Compare every probe with every subject, in chunks of probes; raises as `identify` does.

    Args:
        gallery, gallery_subjects, probes, probe_subjects: as `identify` takes them.
        top: how many of the best subjects to name for each probe, at least 1.
        scores_at_once: bounds a chunk of probes against the whole gallery.
    """
    values = [np.asarray(each) for each in (gallery, probes)]
    norms = [embedding_norms(each) for each in values]
    names = [np.asarray(subjects) for subjects in (gallery_subjects, probe_subjects)]
    for kind, length, of in zip(("gallery", "probes"), norms, names, strict=True):
        if of.shape != length.shape or not len(length):
            raise MarginfaceError(
                f"{kind}: {len(length)} embeddings and subjects of shape {of.shape}; there must be "
                "as many of both, at least one"
            )
    if values[0].shape[1] != values[1].shape[1]:
        raise MarginfaceError(
            f"the gallery's embeddings have {values[0].shape[1]} numbers, the probes' "
            f"{values[1].shape[1]}; one model must have made both"
        )
    subjects, of_entry = np.unique(names[0], return_inverse=True)
    order = np.argsort(of_entry, kind="stable")
    entries = (values[0][order] / norms[0][order, None]).T
    starts = np.searchsorted(of_entry[order], np.arange(len(subjects)))
    subject_of = np.minimum(np.searchsorted(subjects, names[1]), len(subjects) - 1)
    mated = subjects[subject_of] == names[1]
    score = np.empty(len(mated), np.float32)
    rank = np.zeros(len(mated), np.int64)
    top = min(top, len(subjects))
    best, best_score = (
        np.empty((len(mated), top), np.int64),
        np.empty((len(mated), top), np.float32),
    )
    step = max(1, scores_at_once // len(of_entry))
    for at in range(0, len(mated), step):
        here = slice(at, at + step)
        unit = values[1][here] / norms[1][here, None]
        cosines = (unit @ entries).astype(np.float32)
        if len(subjects) < len(of_entry):
            cosines = np.maximum.reduceat(cosines, starts, axis=1)
        of_mate = np.take_along_axis(cosines, subject_of[here, None], axis=1)
        rank[here] = np.where(mated[here], np.sum(cosines >= of_mate, axis=1), 0)
        score[here] = np.where(mated[here], of_mate[:, 0], cosines.max(axis=1))
        rows = np.arange(len(cosines))
        cosines[rows[mated[here]], subject_of[here][mated[here]]] = -np.inf  # its place is its rank
        for place in range(top):
            at_own = rank[here] == place + 1
            chosen = np.where(at_own, subject_of[here], cosines.argmax(axis=1))
            best[here, place] = chosen
            best_score[here, place] = np.where(at_own, of_mate[:, 0], cosines[rows, chosen])
            cosines[rows, chosen] = -np.inf
    return Searches(mated, score, rank, subjects, best, best_score)


def galleries_json(results: Mapping[str, IdentificationResult]) -> dict[str, Any]:
    """Return each gallery's figures and the means over galleries, for metrics.json."""
    figures = {name: each.to_json() for name, each in results.items()}
    keys = ("rank", "tpir_at_fpir", "dir_at_fpir")
    ranks = min(len(each.hits) for each in results.values())
    return {
        "galleries": figures,
        "mean": {key: _mean([each[key] for each in figures.values()]) for key in keys},
        "cmc": np.mean([each.cmc[:ranks] for each in results.values()], axis=0).tolist(),
    }


def _mean(rates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each rate that all galleries have."""
    shared = [key for key in rates[0] if all(key in each for each in rates)]
    return {key: float(np.mean([each[key] for each in rates])) for key in shared}


def _shares_json(name: str, shares: Mapping[str, Share]) -> dict[str, Any]:
    return {
        name: {key: each.rate for key, each in shares.items()},
        f"{name}_interval": {key: [each.low, each.high] for key, each in shares.items()},
    }
