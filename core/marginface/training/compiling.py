"""Compile the training step where that pays, which the first steps' times decide."""

from __future__ import annotations

import statistics
from typing import Protocol, cast

from marginface.learner import Group
from marginface.training.duration import in_words
from marginface.training.preparation import Training
from marginface.training.processes.groups import ALONE

WARM_UP_STEPS = 2  # allocation and autotuning make the first ones slow
TIMED_STEPS = 4
# Compiling takes one to two minutes on a CPU and makes the step 1.2 to 1.6 times faster: a run
# that would take ten more minutes gains at least as much as compiling costs.
WORTHWHILE_SECONDS = 600.0


class Compilable(Protocol):
    """A learner that can compile its step."""

    def compile(self) -> None:
        """Compile the training step; later steps use it."""


class AutoCompile:
    """Times steps until it can decide, then compiles the learner or leaves it.

    Args:
        learner: compiled at most once.
        group: all processes, of which the slowest decides for all.
    """

    def __init__(self, learner: Compilable, group: Group = ALONE) -> None:
        self._learner = learner
        self._group = group
        self._seconds: list[float] = []
        self.compiled: bool | None = None  # None until decided

    def observe(self, seconds: float, remaining_steps: int) -> str | None:
        """Record one step's time; return a line for the log when it decides the matter."""
        if self.compiled is not None or remaining_steps == 0:
            return None
        self._seconds.append(seconds)
        if len(self._seconds) < WARM_UP_STEPS + TIMED_STEPS:
            return None
        mine = statistics.median(self._seconds[WARM_UP_STEPS:])
        typical = max(map(float, self._group.exchange(repr(mine))))
        left = typical * remaining_steps
        self.compiled = left > WORTHWHILE_SECONDS
        facts = f"{remaining_steps} steps left at {typical:.3g} s are {in_words(left)} eager"
        if not self.compiled:
            return f"not compiling: {facts}, too few to win back what compiling takes"
        self._learner.compile()
        return f"compiling the step (1 to 2 minutes on a CPU, then faster): {facts}"


def start_compiling(training: Training) -> AutoCompile | None:
    """Compile the learner if that is decided already; else return the `AutoCompile` to decide."""
    config, learner = training.config, training.learner
    if config.compile == "off" or config.recompute or not hasattr(learner, "compile"):
        return None
    compilable = cast(Compilable, learner)
    if config.compile == "auto" and training.progress.compiled_backend != config.backend:
        return AutoCompile(compilable, training.group)
    compilable.compile()
    return None
