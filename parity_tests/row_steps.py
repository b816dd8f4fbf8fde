"""Steps of some rows of a head's arrays by the core's optimizers: what frameworks are held to."""

from __future__ import annotations

from typing import Any

import numpy as np

from marginface.heads import COUNT
from marginface.optimizers import AdamW, Optimizer


def zero_slots(spec: Optimizer, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what an optimizer carries for each of the parameters before the first step."""
    zeros = {
        f"{slot}.{name}": np.zeros_like(value)
        for slot in spec.slots
        for name, value in parameters.items()
    }
    if isinstance(spec, AdamW):
        counts = {f"{COUNT}.{k}": np.zeros(len(v), np.int64) for k, v in parameters.items()}
        return zeros | counts
    return zeros


def step_rows(
    spec: Optimizer, arrays: dict[str, Any], name: str, rows: Any, gradient: Any, rate: float
) -> None:
    """Step rows of the parameter `name` and of its slots, in place."""
    step = np.array(1)
    if f"{COUNT}.{name}" in arrays:
        arrays[f"{COUNT}.{name}"][rows] += 1
        step = arrays[f"{COUNT}.{name}"][rows].reshape(-1, *[1] * (gradient.ndim - 1))
    slots = {slot: arrays[f"{slot}.{name}"][rows] for slot in spec.slots}
    arrays[name][rows], after = spec.update(
        arrays[name][rows], gradient, slots, rate, step, decay=name == "weight"
    )
    for slot, value in after.items():
        arrays[f"{slot}.{name}"][rows] = value
