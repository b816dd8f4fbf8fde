"""The rows that a loss keeps for each class: where they start, and whether there is room."""

from __future__ import annotations

import math
import os
from typing import Any

from numpy.typing import NDArray

from marginface.errors import MarginfaceError
from marginface.losses import MarginLoss, Memory

MOVED = (
    "the rows that this loss keeps for each class have moved since the call that is gone back "
    "from: a later call or logits, saving or loading moves them; go back first, and make the head "
    "with accumulation=N if N calls belong to one step"
)


def class_rows(
    loss: MarginLoss, num_classes: int, embedding_size: int, classes: range, itemsize: int
) -> dict[str, NDArray[Any]]:
    """Return the rows of a process's classes as `class_state` starts them.

    Args:
        loss: of the head.
        num_classes: of all processes.
        embedding_size: of the head.
        classes: of this process.
        itemsize: bytes of a number with a point.

    Raises:
        MarginfaceError: they are larger than the machine's memory.

    >>> from marginface import losses
    >>> {k: v.shape for k, v in class_rows(losses.get("vpl"), 9, 4, range(3, 6), 4).items()}
    {'latest': (3, 4), 'seen': (3,)}
    """
    needed = len(classes) * sum(
        math.prod(row.shape) * (itemsize if row.dtype.kind == "f" else row.itemsize)
        for row in loss.class_state(1, embedding_size).values()
    )
    if needed > (memory := machine_memory()):
        raise MarginfaceError(
            f"{loss.name} keeps {needed / 2**30:,.1f} GiB for {len(classes)} classes, beside their "
            f"weights, and this machine has {memory / 2**30:,.1f} GiB of memory; share the classes "
            "among processes on more machines, or take a loss without a memory"
        )
    kept = loss.class_state(num_classes, embedding_size)
    return {name: value[classes.start : classes.stop] for name, value in kept.items()}


def recalled(loss: MarginLoss, memory: Memory | None) -> Memory:
    """Return what a loss recalls of its classes.

    Raises:
        MarginfaceError: nothing, though it has `recall` or a companion.
    """
    if memory is None:
        raise MarginfaceError(
            f"{loss.name}: recall returns None; expected a marginface.losses.Memory(share, vector)"
        )
    return memory


def machine_memory() -> float:
    """Return the machine's memory in bytes; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return math.inf
