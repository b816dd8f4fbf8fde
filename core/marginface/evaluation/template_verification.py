"""Verification of template pairs (IJB 1:1): scores in chunks, TAR down to a FAR of 1e-6."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.data.ordered import in_order
from marginface.errors import MarginfaceError
from marginface.evaluation.rates import RateAt, SortedScores, rates_json
from marginface.evaluation.rejection import RejectCurve, norms_vary, reject_curve
from marginface.evaluation.template_files import TemplatePairs
from marginface.evaluation.templates import Templates
from marginface.vectors import dot_products

FAR_TARGETS = ("1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1")


@dataclass(frozen=True, eq=False)
class TemplateScores:
    """Scores of template pairs in the order of their file, [pairs].

    Attributes:
        score: float64, cosine.
        same: bool.
        quality: float32, the lower of the two templates'.
    """

    score: NDArray[np.float64]
    same: NDArray[np.bool_]
    quality: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TemplateVerification:
    """Figures that `verify_templates` measures.

    Attributes:
        tar_at_far: the largest TAR whose FAR does not exceed the target, with its interval.
        roc: FAR and TAR, thinned.
        reject: FNMR as templates of low quality are rejected; None where it does not vary.
    """

    same_pairs: int
    different_pairs: int
    tar_at_far: dict[str, RateAt]
    roc: tuple[NDArray[np.float64], NDArray[np.float64]]
    reject: RejectCurve | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metrics.json."""
        far, tar = self.roc
        return {
            "pairs": self.same_pairs + self.different_pairs,
            "same_pairs": self.same_pairs,
            "different_pairs": self.different_pairs,
            **rates_json("tar_at_far", self.tar_at_far),
            "roc": {"far": far.tolist(), "tar": tar.tolist()},
            "reject": None if self.reject is None else self.reject.to_json(),
        }


def verify_templates(
    templates: Templates, pair_scores: TemplateScores, *, by_norm: bool = True
) -> TemplateVerification:
    """Measure how well the scores of template pairs separate same from different ones.

    Args:
        templates: those that were compared.
        pair_scores: the scores.
        by_norm: reject templates by quality, too, where it varies.

    Raises:
        MarginfaceError: pairs of one kind only.
    """
    same, different = pair_scores.score[pair_scores.same], pair_scores.score[~pair_scores.same]
    if not (len(same) and len(different)):
        kind = "same" if len(same) else "different"
        raise MarginfaceError(
            f"all {len(pair_scores.score)} pairs are '{kind}' pairs; verification needs both"
        )
    scores = SortedScores(same, different)
    curve = None
    if by_norm and norms_vary(templates.quality.min(), templates.quality.max()):
        curve = reject_curve(
            pair_scores.score, pair_scores.same, pair_scores.quality, templates.quality
        )
    return TemplateVerification(
        len(same),
        len(different),
        {target: scores.at(float(target)) for target in FAR_TARGETS},
        scores.curve(),
        curve,
    )


def score_pairs(
    templates: Templates, chunks: Iterable[TemplatePairs], where: str
) -> TemplateScores:
    """Return the cosine of each pair, chunk by chunk on all processors.

    Every cosine is a sum of its own in float64, so chunks change nothing and equal templates tie.
    Memory: 13 bytes a pair, twice while chunks are joined.

    Args:
        templates: those that the pairs name.
        chunks: the pairs.
        where: their file, for messages.

    Raises:
        MarginfaceError: a template that is not there, or no pair at all.
    """

    def score(pairs: TemplatePairs) -> TemplateScores:
        first, second = templates.rows(pairs.first, where), templates.rows(pairs.second, where)
        quality = np.minimum(templates.quality[first], templates.quality[second])
        return TemplateScores(dot_products(templates.unit, first, second), pairs.same, quality)

    ahead = 2 * (os.cpu_count() or 1)  # chunks of some megabytes each
    scored = list(in_order(score, chunks, ahead=ahead))
    if not sum(len(each.score) for each in scored):
        raise MarginfaceError(f"{where} holds no pairs")
    return TemplateScores(
        np.concatenate([each.score for each in scored]),
        np.concatenate([each.same for each in scored]),
        np.concatenate([each.quality for each in scored]),
    )
