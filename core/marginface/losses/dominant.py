"""Angles of samples to the dominant centre of their class, which show noisy identities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.checks import check_count, check_labels
from marginface.errors import MarginfaceError
from marginface.losses.values import MIN_NORM


def angles_to_dominant(
    embeddings: NDArray[Any], labels: NDArray[Any], weight: NDArray[Any], centers: int
) -> NDArray[np.float64]:
    """Return each sample's angle to the dominant centre of its class, radians, [samples].

    A class's dominant centre is nearest to more of its samples than any other; of equal ones the
    first. The paper drops samples farther than 75 degrees and trains again.

    Args:
        embeddings: [samples, embedding_size], not normalised.
        labels: [samples], in 0 .. classes - 1.
        weight: class weights [classes * centers, embedding_size].
        centers: K, centres a class.

    Raises:
        MarginfaceError: shapes that do not fit, a label out of range.

    >>> weight = np.array([[1.0, 0.0], [0.0, 1.0]])  # one class, two centres
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 2.0]])
    >>> np.degrees(angles_to_dominant(x, np.zeros(3, int), weight, centers=2)).round(1).tolist()
    [0.0, 5.7, 90.0]
    """
    x, w, y = np.asarray(embeddings), np.asarray(weight), np.asarray(labels)
    centers = check_count("centers", centers)
    if len(w) % centers or x.shape != (len(y), w.shape[1]):
        raise MarginfaceError(
            f"embeddings {x.shape}, labels {y.shape} and weight {w.shape} do not fit {centers} "
            "centres; expected [samples, size], [samples] and [classes * centers, size]"
        )
    if len(y):
        check_labels(int(y.min()), int(y.max()), len(w) // centers)
    angles = np.zeros(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        class_centers = _units(w[label * centers : (label + 1) * centers])
        cosines = _units(x[members]) @ class_centers.T
        dominant = np.bincount(cosines.argmax(1), minlength=centers).argmax()
        angles[members] = np.arccos(cosines[:, dominant].clip(-1, 1))
    return angles


def _units(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    units: NDArray[np.float64] = np.where(norms > MIN_NORM, wide / np.maximum(norms, MIN_NORM), 0)
    return units
