"""What a layer is called with in TensorFlow, besides its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import Tensor


class Pass(NamedTuple):
    """What all layers of one pass through a backbone share.

    Args:
        noise: by the name of the layer that it is for; empty outside training.
        training: whether statistics are the batch's.
        dtype: what the layers compute in.
    """

    noise: Mapping[str, Tensor]
    training: bool
    dtype: str


class Call(NamedTuple):
    """One layer's part of a backbone's call.

    Args:
        arrays: its variables, by the last part of their names.
        training: whether statistics are the batch's.
        noise: [batch, ...], of a layer that takes some, in training.
        dtype: what it computes in.
        synchronized: whether the batch's statistics are those of all processes' batches.
        moving: whether the batch's statistics move the running ones.
    """

    arrays: Mapping[str, Any]
    training: bool
    noise: Tensor | None
    dtype: str
    synchronized: bool = False
    moving: bool = True

    def value(self, name: str) -> Tensor:
        """Return the value of one of the arrays, in the type that the backbone computes in."""
        return tf.cast(self.arrays[name].value, self.dtype)
