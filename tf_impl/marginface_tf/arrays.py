"""Arrays to tensors."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def as_tensor(value: Any) -> Any:
    """Return a value as a tensor that has a shape and a type; Keras' symbolic ones stay."""
    return value if isinstance(value, keras.KerasTensor) else tf.convert_to_tensor(value)
