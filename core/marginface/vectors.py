"""Lengths and cosines of embeddings, in float64, each summed by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marginface.errors import MarginfaceError

PAIRS_AT_ONCE = 256  # of dot_products: the gathered embeddings stay in the processor's cache

Floats = NDArray[np.float64]


def pair_scores(embeddings: ArrayLike, first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the cosine of embeddings [images, size] at index `first` [pairs] and `second` [pairs].

    Raises:
        MarginfaceError: an embedding is not finite or has length zero.

    >>> pair_scores([[3.0, 0.0], [0.0, 2.0]], [0, 0], [1, 0])
    array([0., 1.])
    """
    values = np.asarray(embeddings)
    norms = embedding_norms(values)
    left, right = np.asarray(first, np.int64), np.asarray(second, np.int64)
    cosines: Floats = dot_products(values, left, right) / (norms[left] * norms[right])
    return cosines


def unit_embeddings(embeddings: ArrayLike) -> Floats:
    """Return embeddings [images, size] scaled to length 1; raises as `pair_scores` does."""
    values = np.asarray(embeddings, np.float64)
    unit: Floats = values / embedding_norms(values)[:, None]
    return unit


def embedding_norms(values: NDArray[Any]) -> Floats:
    """Return the lengths [images] of embeddings [images, size]; raises as `pair_scores` does."""
    if values.ndim != 2:
        raise MarginfaceError(f"embeddings must be [images, size], got shape {values.shape}")
    every = np.arange(len(values))
    norms: Floats = np.sqrt(dot_products(values, every, every))
    bad = _without_direction(norms)
    if len(bad):
        raise MarginfaceError(
            f"{len(bad)} of {len(values)} embeddings have no direction (length zero, NaN or "
            f"infinite), first at index {bad[0]}; the model's weights or its input are broken"
        )
    return norms


def directionless(embeddings: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the rows of embeddings [images, size] that no cosine is defined for."""
    return _without_direction(np.linalg.norm(embeddings, axis=1))


def _without_direction(norms: NDArray[np.floating]) -> NDArray[np.intp]:
    return np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))


def dot_products(
    values: NDArray[np.floating], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Floats:
    """Return the dot products, in float64, of rows `first` and `second` [pairs] of [images, size].

    Each is summed by itself, so equal embeddings give equal scores, whatever the chunk.
    """
    chunks = [
        np.einsum(
            "nd,nd->n",
            values[first[at : at + PAIRS_AT_ONCE]].astype(np.float64, copy=False),
            values[second[at : at + PAIRS_AT_ONCE]].astype(np.float64, copy=False),
        )
        for at in range(0, len(first), PAIRS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0), *chunks])
