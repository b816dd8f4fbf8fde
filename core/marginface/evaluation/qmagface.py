"""QMagFace's score: a cosine that counts for less where the less clear image of a pair is clear.

    score = cosine + min(0, beta cosine - alpha) * quality

The quality of a pair is the smaller norm of its two embeddings. Two clear images of one person are
alike, so a low cosine of clear images says more than one of blurred images.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.checks import check_number
from marginface.errors import MarginfaceError, unknown_name
from marginface.evaluation.rejection import norms_vary
from marginface.evaluation.verification import check_scores

FitOn = Literal["sigmoid", "score"]
FIT_ON = ("sigmoid", "score")
FARS = (1e-5, 1e-2)  # the fit's, of which the lower rises to what the pairs can show
LEAST_DIFFERENT = 1000  # different pairs: a decade of FARs up to 1e-2
WEIGHTS, TARGETS = 20, 50  # tried for the norm; FARs between the two
LARGEST_SHARE = 0.5  # of the cosine's range, which the largest weight times the largest norm has
ONE_NORM = "all embeddings have one norm, which tells nothing of quality"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class QMagFace:
    """The score with its two numbers.

    Args:
        alpha: what the weight of the quality is below 0 at a cosine of 0.
        beta: how fast it rises with the cosine; it is 0 from alpha / beta up.
        fit_on: what the line was fitted over: "sigmoid" or "score"; None if it was not fitted.
        fars: of the fit, lowest and highest.
        fitted_on: the set of pairs that it was fitted on.

    >>> published = QMagFace(alpha=0.077428, beta=0.125926)  # MagFace, iresnet100
    >>> published.scores([0.3, 0.7], [25.0, 25.0]).round(3)
    array([-0.691,  0.7  ])
    """

    alpha: float
    beta: float
    fit_on: FitOn | None = None
    fars: tuple[float, float] | None = None
    fitted_on: str | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            check_number(name, getattr(self, name))
            if not math.isfinite(getattr(self, name)):
                raise MarginfaceError(f"{name} must be finite, got {getattr(self, name)}")

    def scores(self, cosines: ArrayLike, quality: ArrayLike) -> Floats:
        """Return the scores [pairs].

        Args:
            cosines: [pairs].
            quality: the smaller norm of each pair's two embeddings, [pairs].
        """
        cosine = np.asarray(cosines, np.float64)
        weight = np.minimum(self.beta * cosine - self.alpha, 0.0)
        scores: Floats = cosine + weight * np.asarray(quality, np.float64)
        return scores

    def to_json(self) -> dict[str, Any]:
        """Return plain values; of a score that was not fitted, its numbers alone."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {"name": "qmagface", **values}

    def __str__(self) -> str:
        text = f"QMagFace, alpha {self.alpha:.6g}, beta {self.beta:.6g}"
        if self.fars is None:
            return text
        low, high = self.fars
        return f"{text}, fitted on {self.fitted_on or 'pairs'} at FAR {low:.2g} to {high:.2g}"


def fit_qmagface(
    cosines: ArrayLike,
    same: ArrayLike,
    quality: ArrayLike,
    *,
    fit_on: FitOn = "sigmoid",
    fars: tuple[float, float] = FARS,
    fitted_on: str | None = None,
) -> QMagFace:
    """Fit alpha and beta on pairs, which must not be those that are measured then.

    For each of 50 false accept rates, 20 weights of the quality are tried. The best one, which
    refuses the fewest same pairs, and the threshold at it give a point; the line through all points
    by least squares is weight = beta threshold - alpha.

    The authors' code takes the points' thresholds after a sigmoid, but uses the line at the cosine
    as it is. That is fit_on="sigmoid", with which their numbers were found; "score" takes the
    threshold as it is.

    Args:
        cosines: [pairs].
        same: bool [pairs].
        quality: the smaller norm of each pair's two embeddings, [pairs].
        fit_on: "sigmoid" or "score".
        fars: lowest and highest false accept rate; fewer than 1 / FAR different pairs raise the
            lowest.
        fitted_on: the name of the set, to be kept with the numbers.

    Raises:
        MarginfaceError: as `verify`; norms that do not vary, fewer than 1,000 different pairs, or
            a best weight that is the same at every rate, through which there is no line.

    Source: QMagFace (2111.13475), and similarity/qmagface.py of pterhoer/QMagFace.
    """
    score, truth = check_scores(cosines, same)
    norms = _checked(quality, score.shape)
    if fit_on not in FIT_ON:
        raise unknown_name("fit_on", fit_on, FIT_ON)
    different = int(np.sum(~truth))
    if different < LEAST_DIFFERENT:
        raise MarginfaceError(
            f"{different:,} different pairs are too few to fit QMagFace's score, which compares "
            f"false accept rates up to {FARS[1]:g}; give at least {LEAST_DIFFERENT:,}"
        )
    low, high = max(fars[0], 1 / different), fars[1]
    if not low < high < 1:
        raise MarginfaceError(
            f"fars must be two rates with {1 / different:.2g} or more below the higher one, of "
            f"{different:,} different pairs, got {fars}"
        )
    points = _points(score, truth, norms, np.geomspace(low, high, TARGETS))
    if not np.isfinite(points.threshold).all():
        raise MarginfaceError(
            f"no same pair scores above the different ones at FAR {low:.2g}: there is no threshold "
            "to fit QMagFace's score to; give a better model, or pairs without wrong labels"
        )
    at = 1 / (1 + np.exp(-points.threshold)) if fit_on == "sigmoid" else points.threshold
    if np.ptp(points.weight) == 0 or np.ptp(at) == 0:
        raise MarginfaceError(
            f"the best weight of the norm is {points.weight[0]:.3g} at every FAR from {low:.2g} to "
            f"{high:.2g}: there is no line to fit QMagFace's score to; give more pairs"
        )
    aside = at - at.mean()
    beta = float(aside @ points.weight / (aside @ aside))
    alpha = float(beta * at.mean() - points.weight.mean())
    return QMagFace(alpha, beta, fit_on, (low, high), fitted_on)


@dataclass(frozen=True)
class _Points:
    threshold: Floats  # [rates]
    weight: Floats


def _points(score: Floats, truth: NDArray[np.bool_], norms: Floats, rates: Floats) -> _Points:
    """Return the best weight of the norm at each rate, the first among equals, and its threshold.

    The threshold is the lowest score of a same pair that is accepted; infinite if none is.
    """
    different = int(np.sum(~truth))
    # How many false accepts are fewer than the rate.
    admitted = np.searchsorted(np.arange(different + 1) / different, rates) - 1
    largest = LARGEST_SHARE / norms.max()
    weights = np.linspace(-largest, largest, WEIGHTS)
    refused, thresholds = [], []
    for weight in weights:
        moved = score + weight * norms
        highest_refused = np.sort(moved[~truth])[::-1][admitted]
        own = np.sort(moved[truth])
        count = np.searchsorted(own, highest_refused, side="right")
        refused.append(count)
        thresholds.append(np.append(own, np.inf)[count])
    best = np.argmin(refused, axis=0)
    return _Points(np.array(thresholds)[best, np.arange(len(rates))], weights[best])


def _checked(quality: ArrayLike, shape: tuple[int, ...]) -> Floats:
    norms = np.asarray(quality, np.float64)
    if norms.shape != shape:
        raise MarginfaceError(
            f"quality must be [pairs] as the cosines, {shape}, got shape {norms.shape}"
        )
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise MarginfaceError("quality must be norms, above 0 and finite")
    if not norms_vary(float(norms.min()), float(norms.max())):
        raise MarginfaceError(
            f"{ONE_NORM}; QMagFace's score needs embeddings as MagFace gives them"
        )
    return norms
