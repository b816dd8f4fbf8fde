"""What `--score` and its options mean: the cosine, or QMagFace's score, given or to be fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.checks import as_path
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError, unknown_name
from marginface.evaluation.evaluate import score_pairs
from marginface.evaluation.measured_with import MeasuredWith, shared_pairs
from marginface.evaluation.qmagface import FIT_ON, ONE_NORM, FitOn, QMagFace, fit_qmagface
from marginface.evaluation.rejection import norms_vary
from marginface.training.config.values import name_value_pairs

SCORES = ("cosine", "qmagface")
NEEDS = (
    "--score qmagface needs alpha and beta: fit them on other pairs than those that are measured "
    "(--score-fit SET), or give them (--score-parameters alpha=0.08,beta=0.13)"
)


@dataclass(frozen=True)
class ScoreChoice:
    """The score that was asked for.

    Args:
        given: with its numbers; None to fit them, or for the cosine.
        fit_set: what they are fitted on.
        fit_on: see `fit_qmagface`.
    """

    given: QMagFace | None = None
    fit_set: Path | None = None
    fit_on: FitOn = "sigmoid"

    def check_sets(self, measured: Sequence[Path | None]) -> None:
        """Raise if the set of the fit is one that is measured."""
        paths = [path.resolve() for path in measured if path is not None]
        if self.fit_set is not None and self.fit_set.resolve() in paths:
            raise MarginfaceError(_taken(f"--score-fit {self.fit_set} is measured, too"))

    def check_pairs(self, fit: Pairs, measured: Sequence[Pairs]) -> None:
        """Raise if a pair of the fit is measured, too, under whatever name."""
        for each in measured:
            if count := shared_pairs(fit, each):
                what = f"{count:,} of {len(each):,} pairs of {each.name} are in --score-fit"
                raise MarginfaceError(_taken(f"{what} {self.fit_set}, too"))

    def fitted(
        self, pairs: Pairs, embeddings: NDArray[np.float32], known: MeasuredWith
    ) -> QMagFace:
        """Return the score that a model's embeddings of the set give."""
        check_norms(known)
        found = score_pairs(pairs, embeddings)
        quality = np.minimum(found.first_norm, found.second_norm)
        try:
            return fit_qmagface(
                found.scores, pairs.same, quality, fit_on=self.fit_on, fitted_on=pairs.name
            )
        except MarginfaceError as error:
            raise MarginfaceError(f"--score-fit {self.fit_set}: {error}") from error


def score_choice(
    score: str, parameters: str | Mapping[str, Any] | None, fit: str | Path | None
) -> ScoreChoice:
    """Return the score that arguments ask for.

    Raises:
        MarginfaceError: an unknown score or parameter, or arguments that do not go together.
    """
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    values = name_value_pairs({} if parameters is None else parameters, "score_parameters")
    if not isinstance(values, Mapping):
        raise MarginfaceError(f"score_parameters must be names with values, got {values!r}")
    fit_set = None if fit is None else as_path("score_fit", fit)
    if score == "cosine":
        if values or fit_set is not None:
            raise MarginfaceError("--score-parameters and --score-fit go with --score qmagface")
        return ScoreChoice()
    for name in values:
        if name not in ("alpha", "beta", "fit_on"):
            raise unknown_name("qmagface parameter", name, ("alpha", "beta", "fit_on"))
    numbers = {name: _number(values[name]) for name in ("alpha", "beta") if name in values}
    if fit_set is not None:
        if numbers:
            raise MarginfaceError("--score-fit finds alpha and beta; give them or fit them")
        fit_on = values.get("fit_on", "sigmoid")
        if fit_on not in FIT_ON:
            raise unknown_name("fit_on", fit_on, FIT_ON)
        return ScoreChoice(fit_set=fit_set, fit_on=fit_on)
    if len(numbers) < 2:
        raise MarginfaceError(NEEDS)
    if "fit_on" in values:
        raise MarginfaceError("fit_on goes with --score-fit, which fits alpha and beta")
    return ScoreChoice(QMagFace(**numbers))


def check_norms(known: MeasuredWith) -> None:
    """Raise if a model normalises its embeddings."""
    if not norms_vary(*known.origin.norms):
        raise MarginfaceError(
            f"{known.model}: {ONE_NORM}; QMagFace's score needs a model that does not normalise, "
            "trained with MagFace (a run, or an export without --normalize)"
        )


def _number(value: Any) -> Any:
    """Return a number that YAML leaves a text, 8e-2, as one; the rest is refused where it is used.

    >>> _number("8e-2"), _number("x")
    (0.08, 'x')
    """
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _taken(what: str) -> str:
    return f"{what}: alpha and beta would be fitted to what is measured; give a set of other pairs"
