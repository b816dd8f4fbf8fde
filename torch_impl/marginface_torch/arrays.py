"""Tensors to arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marginface.errors import MarginfaceError


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Copy a tensor to a contiguous array; bfloat16, which NumPy lacks, becomes float32."""
    return np.array(as_numpy(tensor))


def as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Convert as `to_numpy`, without a copy where the array can share the tensor's memory."""
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    array: NDArray[Any] = tensor.contiguous().numpy()
    return array


def to_float32(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Copy a tensor to a float32 array."""
    return np.asarray(tensor.float().cpu().numpy(), np.float32)


def as_tensor(value: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor, without a copy where PyTorch can take its memory."""
    return torch.from_numpy(np.require(value, requirements=["C", "W"]))


def held_as(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the type that a device holds values of a type in: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" and dtype is torch.float64 else dtype


def check_dtype(dtype: Any) -> None:
    """Raise unless weights can be of this type; None is PyTorch's default."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise MarginfaceError(
            f"dtype must be a floating-point type of torch, such as torch.float32, got {dtype!r}"
        )
