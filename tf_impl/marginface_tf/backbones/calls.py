"""What a layer is called with in TensorFlow, besides its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tensorflow import Tensor


class Call(NamedTuple):
    """One layer's part of a backbone's call.

    Args:
        arrays: its variables, by the last part of their names.
        training: whether statistics are the batch's, and move.
        noise: [batch, ...], of a layer that takes some, in training.
        synchronized: whether the batch's statistics are those of all processes' batches.
    """

    arrays: Mapping[str, Any]
    training: bool
    noise: Tensor | None
    synchronized: bool

    def value(self, name: str) -> Tensor:
        """Return the value of one of the arrays, in the type that the backbone computes in."""
        return self.arrays[name].value
