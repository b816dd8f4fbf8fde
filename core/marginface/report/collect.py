"""The contents of a report: models, verification sets, and each model's results on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.lookup import same_form
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.comparison import Comparison
from marginface.evaluation.evaluate import distinct_images
from marginface.evaluation.identification import IdentificationResult, identify
from marginface.evaluation.measured_with import MeasuredWith
from marginface.evaluation.rejection import RejectCurve, norms_vary, reject_curve


@dataclass(frozen=True)
class ReportModel:
    """A model under the name that the report gives it.

    Args:
        name: of no other model here.
        training: as `read_training` gives it.
        about: the training, as `describe_training` says it.
    """

    name: str
    training: dict[str, list[float | None]] | None = None
    about: str = ""


@dataclass(frozen=True, eq=False)
class Measured:
    """A model on a set.

    Args:
        comparison: scores, norms, and what follows from them.
        rejection: errors as the images with the shortest embeddings are rejected; None where all
            embeddings of the model have one norm.
        identification: each person's first image as gallery, the others as probes; None where the
            images' names do not say whom they show, or nobody has two.
    """

    comparison: Comparison
    rejection: RejectCurve | None
    identification: IdentificationResult | None


@dataclass(frozen=True, eq=False)
class Report:
    """Models, sets, and `measured[model][set]`."""

    models: tuple[ReportModel, ...]
    sets: tuple[Pairs, ...]
    measured: tuple[tuple[Measured, ...], ...]


def measure(
    model: str,
    pairs: Pairs,
    embeddings: NDArray[np.float32],
    *,
    by_norm: bool = True,
    measured_with: MeasuredWith | None = None,
) -> Measured:
    """Measure a model on a set.

    Args:
        model: its name.
        pairs: the set.
        embeddings: [images, size], of `distinct_images(pairs)`.
        by_norm: measure rejection by norm, too, where norms vary.
        measured_with: what gave the embeddings, for the page.
    """
    comparison = Comparison.of(pairs, embeddings, model, measured_with)
    pair_scores = comparison.pair_scores
    norms = np.linalg.norm(embeddings, axis=1).astype(np.float32)
    rejection = None
    if by_norm and norms_vary(norms.min(), norms.max()):
        lower = np.minimum(pair_scores.first_norm, pair_scores.second_norm)
        rejection = reject_curve(pair_scores.scores, pairs.same, lower, norms)
    return Measured(comparison, rejection, _identification(pairs, embeddings))


def identities(pairs: Pairs) -> dict[str, str] | None:
    """Map each image to the identity it shows: the folder that its name begins with.

    None where an image has none, or where folders disagree with the pairs: same pairs lie in one
    folder and different pairs in two if folders are people.
    """
    folders = {name: same_form(name.rpartition("/")[0]) for name in distinct_images(pairs)}
    first, second = (
        np.array([folders[name] for name in side]) for side in (pairs.first, pairs.second)
    )
    agree = all(folders.values()) and np.array_equal(first == second, pairs.same)
    return folders if agree else None


def _identification(pairs: Pairs, embeddings: NDArray[np.float32]) -> IdentificationResult | None:
    people = identities(pairs)
    if people is None:
        return None
    subjects = np.array([people[name] for name in distinct_images(pairs)])
    _, first = np.unique(subjects, return_index=True)
    probes = np.setdiff1d(np.arange(len(subjects)), first)
    if not len(probes):
        return None
    return identify(embeddings[first], subjects[first], embeddings[probes], subjects[probes])
