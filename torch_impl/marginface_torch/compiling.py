"""torch.compile, where it works: it takes a C++ compiler or Triton, which not every machine has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def compiled(function: Callable[P, T], *, dynamic: bool | None = None) -> Callable[P, T]:
    """Return a function that is compiled when first called; where that fails it runs as it is.

    Args:
        function: of tensors and whatever else.
        dynamic: one program for all shapes; for None as torch.compile finds best.

    Returns:
        A function of the same values. A failure is warned of once.
    """
    try:
        fused = torch.compile(function, dynamic=dynamic)
    except OSError as error:  # such as its cache, which cannot be made
        _warn(error)
        return function
    # Only here: it takes a second and a half, which torch.compile has just spent on it.
    from torch._dynamo.exc import TorchDynamoException

    works = True

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal works
        if works:
            try:
                return fused(*args, **kwargs)
            except TorchDynamoException as error:
                uncompiled = function(
                    *args, **kwargs
                )  # where this fails, too, it is the caller's error
                works = False
                _warn(error)
                return uncompiled
        return function(*args, **kwargs)

    return call


def _warn(error: Exception) -> None:
    reason = next((line for line in str(error).splitlines() if line), repr(error))
    warnings.warn(f"torch.compile failed: {reason}; it goes on without", stacklevel=3)
