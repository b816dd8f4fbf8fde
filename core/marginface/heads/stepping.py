"""What a head with `update` carries; checks of its learning rate and its loss scale."""

from __future__ import annotations

import math
from typing import Any

from marginface.errors import MarginfaceError
from marginface.optimizers import AdamW, Optimizer

# A larger gradient of the loss comes from a gradient scaler: the smallest usual scale is 128.
MAX_UPSTREAM = 100.0
SCALED = (
    f"the loss of a head with update was multiplied by more than {MAX_UPSTREAM:g}, as gradient "
    "scalers do; set head.loss_scale to the factor before each backward pass, or weigh the loss by "
    f"{MAX_UPSTREAM:g} at most; got"
)

COUNT = "count"  # the slot that counts a row's steps, int64 [rows]


def update_slots(update: Optimizer | None, dtype: str) -> tuple[str, ...]:
    """Return the names of what a head with `update` carries for each of its parameters.

    Args:
        update: of the head; None for none.
        dtype: of the parameters.

    Raises:
        MarginfaceError: the type cannot hold it.

    >>> update_slots(AdamW(), "float32")
    ('first', 'second', 'count')
    """
    if not isinstance(update, AdamW):
        return () if update is None else update.slots
    if dtype == "float16":
        raise MarginfaceError(
            "update=AdamW(...) keeps squares of gradients, which are too small for float16; give "
            "dtype bfloat16 or float32"
        )
    return *update.slots, COUNT


def check_learning_rate(value: Any) -> float:
    """Return a learning rate as a float.

    Raises:
        MarginfaceError: it is no finite number of at least 0.

    >>> check_learning_rate("a")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: head.rate must be a finite number of at least 0, such as \
0.1, got 'a'
    """
    rate = _float(value)
    if not 0 <= rate < math.inf:
        raise MarginfaceError(
            f"head.rate must be a finite number of at least 0, such as 0.1, got {value!r}"
        )
    return rate


def check_loss_scale(value: Any) -> float:
    """Return a loss scale as a float.

    Raises:
        MarginfaceError: it is no finite number above 0.

    >>> check_loss_scale(65536)
    65536.0
    """
    scale = _float(value)
    if not 0 < scale < math.inf:
        raise MarginfaceError(
            f"loss_scale must be a finite number above 0, such as scaler.get_scale(), got {value!r}"
        )
    return scale


def check_upstream(upstream: float, loss_scale: float | None) -> None:
    """Raise if a loss was scaled and `loss_scale` does not say so.

    With a scale set, the gradient may overflow to infinity or NaN: no error, the step is left out.

    Args:
        upstream: the gradient that reaches the loss; 1 where the loss itself is differentiated.
        loss_scale: the factor that was set for the loss; None if none was.

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


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several values
        return math.nan


def _said(loss_scale: float | None) -> str:
    return "None" if loss_scale is None else f"{loss_scale:g}"
