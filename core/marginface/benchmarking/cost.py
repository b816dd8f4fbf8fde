"""What one rival costs, and how it is measured beside the one that it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marginface.benchmarking.timing import Work, interleave


@dataclass(frozen=True)
class Cost:
    """The cost of one rival.

    Args:
        backend: "torch", "tf", or "core" for what needs neither.
        name: of the rival.
        case: in which it was measured, such as "batch 128, 10,000 classes".
        seconds: of each round.
        base_seconds: of the base, which took turns with it in the same rounds.
        to_base: time as a multiple of the base's: median, smallest, largest of the rounds.
        memory: bytes that a process grows by at its peak; None where not taken.
    """

    backend: str
    name: str
    case: str
    seconds: list[float]
    base_seconds: list[float]
    to_base: tuple[float, float, float]
    memory: int | None = None


def take_turns(
    backend: str,
    case: str,
    base: str,
    works: Mapping[str, Work],
    *,
    rounds: int,
    memory: Mapping[str, int | None] | None = None,
) -> list[Cost]:
    """Return the costs of rivals that take turns with `base`, which is one of them.

    Raises:
        RuntimeError: a rival whose result is not finite.
    """
    for name, work in works.items():  # warms up, too
        if not np.isfinite(np.asarray(work(), np.float64)).all():
            raise RuntimeError(f"{backend}: the loss of {name} is not finite")
    seconds = interleave(works, rounds=rounds, repeats=1, warm_up=0)
    return [
        Cost(
            backend,
            name,
            case,
            seconds[name],
            seconds[base],
            _spread([own / of for own, of in zip(seconds[name], seconds[base], strict=True)]),
            (memory or {}).get(name),
        )
        for name in works
    ]


def _spread(quotients: list[float]) -> tuple[float, float, float]:
    return statistics.median(quotients), min(quotients), max(quotients)
