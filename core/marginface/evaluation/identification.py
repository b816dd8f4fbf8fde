"""Identification (1:N): probes are searched in a gallery; closed set (CMC) and open set (TPIR).

A mated probe's subject is in the gallery, a non-mated one's is not. A subject with several
embeddings in the gallery has the largest of their scores. Cosines are summed in float64 and
compared as float32, so that equal embeddings tie in whatever order a matrix product sums them. Ties
count against the system: the probe's own subject comes last among those that score the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.table import Table

from marginface.errors import MarginfaceError
from marginface.evaluation.rates import RateAt, SortedScores, rates_json
from marginface.evaluation.verification import unit_embeddings

FPIR_TARGETS = ("1e-2", "1e-1")
RANKS = (1, 5, 10)  # of the table
MAX_RANK = 100  # of the CMC
SCORES_AT_ONCE = 4_000_000  # bounds a block of probes against the whole gallery: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Searches:
    """What searching each probe in the gallery gives, [probes].

    Attributes:
        mated: whether the probe's subject is in the gallery.
        score: of its own subject where mated, else the highest of any.
        rank: 1 + the number of other subjects that score as high or higher; 0 where not mated.
        subjects: in the gallery.
    """

    mated: NDArray[np.bool_]
    score: NDArray[np.float32]
    rank: NDArray[np.int64]
    subjects: int


@dataclass(frozen=True, eq=False)
class IdentificationResult:
    """What `identify` measures; rates are fractions of 1.

    Attributes:
        hits: number of mated probes with their subject at rank 1, 2, ... or better.
        tpir: share of mated probes whose subject scores over the threshold, at each FPIR, which is
            the share of non-mated probes that find anybody over it; none without non-mated probes.
        dir: the same where the subject must be at rank 1, too (detection and identification rate).
        curve: FPIR and TPIR, thinned.
    """

    subjects: int
    mated: int
    non_mated: int
    hits: NDArray[np.int64]
    tpir: dict[str, RateAt]
    dir: dict[str, RateAt]
    curve: tuple[Floats, Floats]

    @property
    def cmc(self) -> Floats:
        """Return the cumulative match characteristic: the identification rate at each rank."""
        return self.hits / self.mated

    def at_rank(self, rank: int) -> float:
        """Return the identification rate at a rank."""
        return float(self.cmc[min(rank, len(self.hits)) - 1])

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        far, tar = self.curve
        return {
            "subjects": self.subjects,
            "mated_probes": self.mated,
            "non_mated_probes": self.non_mated,
            "rank": {str(rank): self.at_rank(rank) for rank in RANKS},
            **rates_json("tpir_at_fpir", self.tpir),
            **rates_json("dir_at_fpir", self.dir),
            "cmc": self.cmc.tolist(),
            "roc": {"far": far.tolist(), "tar": tar.tolist()},
        }


def identify(
    gallery: ArrayLike, gallery_subjects: ArrayLike, probes: ArrayLike, probe_subjects: ArrayLike
) -> IdentificationResult:
    """Search probes [probes, size] in a gallery [entries, size] and measure what is found.

    Raises:
        MarginfaceError: shapes do not fit, an embedding has no direction, or no probe is mated.

    >>> gallery, probes = [[1.0, 0.0], [0.0, 1.0]], [[0.9, 0.1], [1.0, 1.0]]
    >>> identify(gallery, ["ann", "bo"], probes, ["ann", "bo"]).cmc  # the second probe ties
    array([0.5, 1. ])
    """
    found = search(gallery, gallery_subjects, probes, probe_subjects)
    mated = found.mated
    if not mated.any():
        raise MarginfaceError(
            f"none of {len(mated)} probes shows one of the gallery's {found.subjects} subjects; "
            "do both name their subjects alike?"
        )
    ranks = np.bincount(found.rank[mated], minlength=MAX_RANK + 1)
    hits = np.cumsum(ranks)[1 : min(MAX_RANK, found.subjects) + 1]
    own, nobody = found.score[mated].astype(np.float64), found.score[~mated]
    tpir, dir_, curve = {}, {}, (np.empty(0), np.empty(0))
    if len(nobody):
        scores = SortedScores(own, nobody)
        first = SortedScores(np.where(found.rank[mated] == 1, own, -np.inf), nobody)
        tpir = {target: scores.at(float(target)) for target in FPIR_TARGETS}
        dir_ = {target: first.at(float(target)) for target in FPIR_TARGETS}
        curve = scores.curve()
    return IdentificationResult(found.subjects, len(own), len(nobody), hits, tpir, dir_, curve)


def search(
    gallery: ArrayLike,
    gallery_subjects: ArrayLike,
    probes: ArrayLike,
    probe_subjects: ArrayLike,
    *,
    scores_at_once: int = SCORES_AT_ONCE,
) -> Searches:
    """Compare every probe with every subject, in blocks of probes; raises as `identify` does."""
    unit = [unit_embeddings(values) for values in (gallery, probes)]
    names = [np.asarray(subjects) for subjects in (gallery_subjects, probe_subjects)]
    for kind, values, of in zip(("gallery", "probes"), unit, names, strict=True):
        if of.shape != (len(values),) or not len(values):
            raise MarginfaceError(
                f"{kind}: {len(values)} embeddings and subjects of shape {of.shape}; there must be "
                "as many of both, at least one"
            )
    if unit[0].shape[1] != unit[1].shape[1]:
        raise MarginfaceError(
            f"the gallery's embeddings have {unit[0].shape[1]} numbers, the probes' "
            f"{unit[1].shape[1]}; one model must have made both"
        )
    subjects, of_entry = np.unique(names[0], return_inverse=True)
    order = np.argsort(of_entry, kind="stable")
    entries = unit[0][order].T
    starts = np.searchsorted(of_entry[order], np.arange(len(subjects)))
    own = np.minimum(np.searchsorted(subjects, names[1]), len(subjects) - 1)
    mated = subjects[own] == names[1]
    score = np.empty(len(mated), np.float32)
    rank = np.zeros(len(mated), np.int64)
    step = max(1, scores_at_once // len(of_entry))
    for at in range(0, len(mated), step):
        here = slice(at, at + step)
        cosines = (unit[1][here] @ entries).astype(np.float32)
        if len(subjects) < len(of_entry):
            cosines = np.maximum.reduceat(cosines, starts, axis=1)
        of_mate = np.take_along_axis(cosines, own[here, None], axis=1)
        rank[here] = np.where(mated[here], np.sum(cosines >= of_mate, axis=1), 0)
        score[here] = np.where(mated[here], of_mate[:, 0], cosines.max(axis=1))
    return Searches(mated, score, rank, len(subjects))


def galleries_json(results: Mapping[str, IdentificationResult]) -> dict[str, Any]:
    """Return each gallery's figures and the means over galleries, for metrics.json."""
    found = {name: each.to_json() for name, each in results.items()}
    keys = ("rank", "tpir_at_fpir", "dir_at_fpir")
    ranks = min(len(each.hits) for each in results.values())
    return {
        "galleries": found,
        "mean": {key: _mean([each[key] for each in found.values()]) for key in keys},
        "cmc": np.mean([each.cmc[:ranks] for each in results.values()], axis=0).tolist(),
    }


def _mean(rates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each rate that all have."""
    shared = [key for key in rates[0] if all(key in each for each in rates)]
    return {key: float(np.mean([each[key] for each in rates])) for key in shared}


def table(results: Mapping[str, IdentificationResult]) -> Table:
    """Return the figures of each gallery, and the mean of several, for the terminal."""
    table = Table(title="Identification (1:N), with 95 % intervals")
    table.add_column("metric")
    for name in results:
        table.add_column(name, justify="right")
    if len(results) > 1:
        table.add_column("mean", justify="right")
    found = list(results.values())

    def add(label: str, texts: list[str], rates: list[float]) -> None:
        mean = [f"{np.mean(rates):.2%}"] if len(rates) > 1 else []
        table.add_row(label, *texts, *mean)

    for rank in RANKS:
        rates = [each.at_rank(rank) for each in found]
        add(f"rank {rank}", [f"{rate:.2%}" for rate in rates], rates)
    for label, kind in (("TPIR", "tpir"), ("DIR", "dir")):
        for target in FPIR_TARGETS if all(each.tpir for each in found) else ():
            at = [getattr(each, kind)[target] for each in found]
            add(f"{label} at FPIR {target}", [str(r) for r in at], [r.rate for r in at])
    for label, name in (
        ("subjects", "subjects"),
        ("mated probes", "mated"),
        ("non-mated probes", "non_mated"),
    ):
        table.add_row(label, *(f"{getattr(each, name):,}" for each in found))
    return table
