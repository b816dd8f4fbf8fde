"""The gradient that a head with `update` steps by: of the loss itself, or of a scaled one."""

from __future__ import annotations

import math
from typing import Any

from marginface.errors import MarginfaceError

# Weights of a loss are smaller, scales of mixed precision larger: 128 is the smallest usual one.
MAX_UPSTREAM = 100.0
SCALED = (
    f"the loss of a head with update was multiplied by more than {MAX_UPSTREAM:g}, as gradient "
    "scalers do; set head.loss_scale to the factor before each backward pass, or weigh the loss by "
    f"{MAX_UPSTREAM:g} at most; got"
)


def check_loss_scale(value: Any) -> float:
    """Return a loss scale as a float.

    Raises:
        MarginfaceError: it is no finite number above 0.

    >>> check_loss_scale(65536)
    65536.0
    """
    try:
        scale = float(value)
    except (TypeError, ValueError, RuntimeError):  # the last of an array of several
        scale = math.nan
    if not 0 < scale < math.inf:
        raise MarginfaceError(
            f"loss_scale must be a finite number above 0, such as scaler.get_scale(), got {value!r}"
        )
    return scale


def check_upstream(upstream: float, loss_scale: float | None) -> None:
    """Raise where a loss comes back so large that it must be a scaled one.

    A scale that was told may overflow, and no number is never large: such steps are left out.

    Args:
        upstream: the gradient of what is differentiated to the head's loss.
        loss_scale: what the loss was multiplied by; None where nobody said so.

    Raises:
        MarginfaceError: `upstream`, divided by the scale, is beyond `MAX_UPSTREAM`.

    >>> check_upstream(65536.0, 65536.0)
    >>> check_upstream(65536.0, 512.0)
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: the loss of a head with update was multiplied by more than \
100, as gradient scalers do; set head.loss_scale to the factor before each backward pass, or weigh \
the loss by 100 at most; got 65536 with loss_scale 512
    """
    share = abs(upstream) / (loss_scale or 1)
    if share > MAX_UPSTREAM and (loss_scale is None or share < math.inf):
        raise MarginfaceError(f"{SCALED} {upstream:g} with loss_scale {_said(loss_scale)}")


def _said(loss_scale: float | None) -> str:
    return "None" if loss_scale is None else f"{loss_scale:g}"
