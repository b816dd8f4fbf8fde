"""Steps of some rows of a head's arrays by the core's optimizers: what frameworks are held to."""

from __future__ import annotations

from typing import Any

import numpy as np

from marginface.heads import COUNT
from marginface.losses import Evaluation, MarginLoss
from marginface.losses.problems import LATE
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


def start_state(loss: MarginLoss, classes: int, size: int) -> dict[str, Any]:
    """Return what a loss carries at first.

    Where classes have rows, some have them already, and so many steps are done that they count.
    """
    state, kept = loss.initial_state(classes), loss.class_state(classes, size)
    if not kept:
        return state
    state = {name: value + LATE[-1] for name, value in state.items()}
    rng = np.random.default_rng(3)
    for value in kept.values():
        drawn = rng.normal(size=value.shape) if value.dtype.kind == "f" else LATE[-1]
        if value.ndim == 2:
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        value[::2] = np.broadcast_to(drawn, value.shape)[::2]
    return state | kept


def evaluate_sample(
    loss: MarginLoss, x: Any, w: Any, labels: Any, classes: Any, *, state: Any, **more: Any
) -> Evaluation:
    """Evaluate a loss on some classes alone; the state goes in and comes back of all classes."""
    kept = loss.class_state(1, x.shape[1])
    own = {name: value[classes] if name in kept else value for name, value in state.items()}
    found = loss.evaluate(x, w, labels, state=own, **more)
    for name in kept:
        whole = state[name].copy()
        whole[classes] = found.state[name]
        found.state[name] = whole
    return found


def saved_names(loss: MarginLoss, state: dict[str, Any]) -> dict[str, Any]:
    """Return what a loss carries by the names that heads save it under."""
    kept = loss.class_state(1, 1)
    return {f"class_state.{k}" if k in kept else f"state.{k}": v for k, v in state.items()}


def put_back(loss: MarginLoss, arrays: dict[str, Any]) -> None:
    """Put learned margins back into their range, before each use, and after a head stepped them."""
    if loss.margin_pull is not None:
        arrays["bias"] = arrays["bias"].clip(0, 1)
