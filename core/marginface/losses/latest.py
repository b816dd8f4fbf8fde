"""What losses share that keep each class's latest embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.losses.base import MarginLoss
from marginface.losses.values import Arrays, Float, Sample


class LatestEmbedding(MarginLoss):
    """Base of losses that keep each class's latest embedding, and the step that it came at.

    State: `step`, the number of training steps. For each class: `latest`, of length 1, and `seen`,
    its step; 0 for a class that was not seen yet.
    """

    def initial_state(self, num_classes: int) -> dict[str, NDArray[Any]]:
        """Return step, 0."""
        return {"step": np.array(0)}

    def class_state(self, num_classes: int, embedding_size: int) -> dict[str, NDArray[Any]]:
        """Return `latest` and `seen`, all zero."""
        return {
            "latest": np.zeros((num_classes, embedding_size)),
            "seen": np.zeros(num_classes, np.int64),
        }

    def prepare(
        self, cosines: Float, norms: Float, state: Arrays, draw: Arrays
    ) -> tuple[dict[str, Float], dict[str, NDArray[Any]]]:
        """Count the step; there is nothing to prepare."""
        return {}, {"step": state["step"] + 1}

    def remember(self, rows: Arrays, sample: Sample, state: Arrays) -> dict[str, Any]:
        """Return the sample's embedding, and the step."""
        return {"latest": sample.embedding, "seen": state["step"]}
