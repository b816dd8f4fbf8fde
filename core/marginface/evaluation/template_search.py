"""Identification of templates (IJB 1:N): probe templates are searched in one or two galleries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from marginface.evaluation.identification import IdentificationResult, identify
from marginface.evaluation.templates import Templates


def search_galleries(
    templates: Templates,
    galleries: Mapping[str, Mapping[int, int]],
    probes: Mapping[int, int],
) -> dict[str, IdentificationResult]:
    """Search each gallery for all probes.

    A probe whose subject is in the other gallery alone is a stranger to this one, as in IJB.

    Args:
        templates: by the ids in galleries and probes.
        galleries: for each name, template ids to subject ids.
        probes: template ids to subject ids.

    Raises:
        MarginfaceError: a template that no image belongs to.
    """
    probe_rows, probe_subjects = _rows(templates, probes, "the list of probes")
    results = {}
    for name, entries in galleries.items():
        rows, subjects = _rows(templates, entries, f"gallery {name}")
        results[name] = identify(
            templates.unit[rows], subjects, templates.unit[probe_rows], probe_subjects
        )
    return results


def _rows(
    templates: Templates, subjects: Mapping[int, int], where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = np.array(list(subjects), np.int64)
    return templates.rows(ids, where), np.array(list(subjects.values()), np.int64)
