"""Learning rate schedules: pure functions of the step, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from marginface.errors import MarginfaceError, unknown_name
from marginface.text import counted

SCHEDULES = ("polynomial", "cosine", "step")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate of every step: linear warm-up, then a decay.

    With w = warmup_steps, T = total_steps and p = (step - w) / (T - w):

    - warm-up, step < w: `lr (step + 1) / w`, so that no step is wasted on a rate of 0
    - polynomial: `lr (1 - p)^power`
    - cosine: `lr (1 + cos(pi p)) / 2`
    - step: `lr gamma^k`, k the number of milestones <= step

    The first step after the warm-up has the full rate; the rate would reach 0 at step T, which
    is the first one that is not taken.

    Args:
        kind: polynomial, cosine or step.
        lr: the highest learning rate.
        total_steps: steps in the whole run, warm-up included.
        warmup_steps: steps over which the rate rises linearly.
        power: of the polynomial.
        milestones: steps at which the rate is multiplied by gamma, rising.
        gamma: factor at each milestone.

    >>> schedule = Schedule(kind="polynomial", lr=0.1, total_steps=10, warmup_steps=2)
    >>> [round(schedule(step), 4) for step in (0, 1, 2, 6, 9)]
    [0.05, 0.1, 0.1, 0.05, 0.0125]
    """

    kind: str
    lr: float
    total_steps: int
    warmup_steps: int = 0
    power: float = 1.0
    milestones: Sequence[int] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise unknown_name("schedule", self.kind, SCHEDULES)
        if self.total_steps < 1:
            raise MarginfaceError(f"total_steps must be >= 1, got {self.total_steps}")
        if list(self.milestones) != sorted({mark for mark in self.milestones if mark > 0}):
            raise MarginfaceError(f"milestones must rise from 1 on, got {list(self.milestones)}")

    def require_reached(self) -> None:
        """Raise if the run ends before its warm-up does, or before one of its milestones."""
        total = self.total_steps
        if self.warmup_steps >= total:
            raise MarginfaceError(
                f"warmup_steps is {self.warmup_steps}, but the run has {total} steps and would "
                f"end before its full learning rate; give --warmup-steps {total // 10} or so, or "
                "train longer (--epochs, --max-steps)"
            )
        missed = [mark for mark in self.milestones if mark >= total]
        if missed:
            raise MarginfaceError(
                f"milestone {missed[0]} is never reached: the run has {total} steps, counted from "
                "0; give --milestones below that, or train longer (--epochs, --max-steps)"
            )

    def describe(self) -> str:
        """Describe the schedule in a few words.

        >>> Schedule(kind="step", lr=0.1, total_steps=9, milestones=(5,), warmup_steps=2).describe()
        'step, 0.1 times 0.1 at 5, end at 9, 2 steps of warm-up'
        """
        text = f"{self.kind}, {self.lr:g} to 0 at step {self.total_steps}"
        if self.kind == "polynomial" and self.power != 1:
            text = f"{text}, power {self.power:g}"
        if self.kind == "step":
            marks = ", ".join(map(str, self.milestones))
            text = f"step, {self.lr:g} times {self.gamma:g} at {marks}, end at {self.total_steps}"
        return text + (
            f", {counted(self.warmup_steps, 'step')} of warm-up" if self.warmup_steps else ""
        )

    def __call__(self, step: int) -> float:
        """Return the learning rate of `step` (from 0)."""
        if step < 0:
            raise MarginfaceError(f"step must be >= 0, got {step}")
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if self.kind == "step":
            return self.lr * self.gamma ** sum(step >= mark for mark in self.milestones)
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        progress = min(1.0, progress)
        if self.kind == "cosine":
            return self.lr * (1 + math.cos(math.pi * progress)) / 2
        return self.lr * math.pow(1 - progress, self.power)
