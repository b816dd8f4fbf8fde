"""Where a head's weights start: the core's generator, so that both frameworks start alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHT_STD = 0.01  # class weights start from N(0, 0.01), as InsightFace's do

BLOCK_VALUES = 1 << 20  # drawn at a time, in float64


@dataclass(frozen=True)
class InitialHead:
    """Class weights from N(0, 0.01), float32, drawn when they are asked for.

    Args:
        shape: classes, embedding size.
        seed: of the run.

    >>> weights = InitialHead((1000, 4), seed=0)
    >>> bool((weights[600:700] == np.asarray(weights)[600:700]).all())
    True
    """

    shape: tuple[int, int]
    seed: int
    dtype = np.dtype(np.float32)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Draw some rows; those before them are drawn, too, and not kept."""
        start, stop, _ = rows.indices(self.shape[0])
        rng = np.random.default_rng([self.seed, 1])  # not the stream of the backbone's start
        size = self.shape[1]
        block_rows = max(1, BLOCK_VALUES // size)
        weights = np.empty((stop - start, size), np.float32)
        for first in range(0, stop, block_rows):
            drawn = rng.normal(0.0, WEIGHT_STD, (min(block_rows, stop - first), size))
            kept = drawn[max(0, start - first) :]
            done = max(first, start) - start
            weights[done : done + len(kept)] = kept
        return weights

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Draw all."""
        del copy  # what was drawn is nobody else's
        return np.asarray(self[:], dtype)
