"""Where a head's weights start: the core's generator, so that both frameworks start alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHT_STD = 0.01  # class weights start from N(0, 0.01), as InsightFace's do


def initial_head(shape: Sequence[int], seed: int) -> NDArray[Any]:
    """Return class weights [classes, embedding_size] from N(0, 0.01), float32."""
    rng = np.random.default_rng([seed, 1])  # a stream apart from the backbone's
    return rng.normal(0.0, WEIGHT_STD, tuple(shape)).astype(np.float32)
