"""Compiling a block's arithmetic between its matrix products, where that gains time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])
DEVICES = {"cuda"}  # where each way over a block's logits costs about as much as a product


def fused(function: F, half: torch.dtype | None, device: torch.device) -> F:
    """Return a function, compiled where products are in half precision on a GPU."""
    if half is None or device.type not in DEVICES:
        return function
    found: F = _compiled(function)
    return found


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    return torch.compile(function, dynamic=True)
