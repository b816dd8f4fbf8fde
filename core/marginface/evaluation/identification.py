"""Identification (1:N): probes are searched in a gallery; closed set (CMC) and open set (TPIR).

A mated probe's subject is in the gallery, a non-mated one's is not. A subject that the gallery holds
several embeddings of has the largest of their scores. Cosines are summed in float64 and compared as
float32: so equal embeddings tie, in whatever order a product sums them. Ties count against the system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.table import Table

from marginface.errors import MarginfaceError
from marginface.evaluation.rates import RateAt, SortedScores
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
            "tpir_at_fpir": {target: found.to_json() for target, found in self.tpir.items()},
            "dir_at_fpir": {target: found.to_json() for target, found in self.dir.items()},
            "cmc": self.cmc.tolist(),
            "roc": {"far": far.tolist(), "tar": tar.tolist()},
        }


def identify(
    gallery: ArrayLike, gallery_subjects: ArrayLike, probes: ArrayLike, probe_subjects: ArrayLike
) -> IdentificationResult:
    """Search probes [probes, size] in a gallery [entries, size] and measure what is found.

    Raises:
        MarginfaceError: shapes do not fit, an embedding has no direction, or no probe is mated.

    >>> found = identify([[1.0, 0.0], [0.0, 1.0]], ["ann", "bo"], [[0.9, 0.1], [1.0, 1.0]], ["ann", "bo"])
    >>> found.cmc  # the second probe ties between ann and bo, which counts against it
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
    return IdentificationResult(
        found.subjects, len(own), len(nobody), hits, tpir, dir_, curve
    )


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


def table(results: Mapping[str, IdentificationResult]) -> Table:
    """Return the figures of one or several galleries, with the mean of several, for the terminal."""
    shown = Table(title="Identification (1:N)")
    shown.add_column("metric")
    for name in results:
        shown.add_column(name, justify="right")
    several = len(results) > 1
    if several:
        shown.add_column("mean", justify="right")

    def add(label: str, rates: list[float], texts: list[str]) -> None:
        shown.add_row(label, *texts, *([f"{np.mean(rates):.2%}"] if several else []))

    found = list(results.values())
    for rank in RANKS:
        rates = [each.at_rank(rank) for each in found]
        add(f"rank {rank}", rates, [f"{rate:.2%}" for rate in rates])
    for name, kind in (("TPIR", "tpir"), ("TPIR at rank 1", "dir")):
        for target in FPIR_TARGETS:
            at = [getattr(each, kind)[target] for each in found if getattr(each, kind)]
            if len(at) == len(found):
                add(f"{name} at FPIR {target}", [r.rate for r in at], [str(r) for r in at])
    return shown
