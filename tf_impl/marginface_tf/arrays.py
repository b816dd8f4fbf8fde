"""Arrays to tensors."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from marginface.errors import MarginfaceError


def as_tensor(value: Any) -> Any:
    """Return a value as a tensor that has a shape and a type; Keras' symbolic ones stay."""
    if getattr(value, "requires_grad", False):
        raise MarginfaceError(
            "got a tensor of PyTorch with a gradient, which ends at TensorFlow; give "
            "tensor.detach().numpy(), or use marginface_torch"
        )
    return value if isinstance(value, keras.KerasTensor) else tf.convert_to_tensor(value)


def check_dtype(dtype: Any) -> None:
    """Raise unless weights can be of this type; None is Keras' default."""
    try:
        floating = keras.backend.is_float_dtype(keras.dtype_policies.get(dtype).variable_dtype)
    except (TypeError, ValueError):
        floating = False
    if not floating:
        raise MarginfaceError(
            "dtype must be a floating-point type or a policy of Keras, such as 'float32', "
            f"got {dtype!r}"
        )
