"""Say about how long a run takes: at once for a network that is heavy, then by its own steps."""

from __future__ import annotations

import time

import numpy as np

from marginface.backbones import Graph
from marginface.learner import Learner
from marginface.text import counted

UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))
LONG_SECONDS = 3600.0
SLOW = 30.0  # images a second; a GPU trains every network here faster
CPU_NETWORK = "mobilefacenet"
HEAVY = (
    1e11  # multiply-adds of a step's forward pass: a CPU takes ten seconds and more for the step
)
TRIED = 4  # images
STEP_TO_FORWARD = 3  # a step is the forward pass and twice as much for the gradients


def in_words(seconds: float) -> str:
    """Return a rough time in words.

    >>> in_words(77_400), in_words(4000), in_words(61), in_words(5)
    ('about 22 hours', 'about 67 minutes', 'about 1 minute', 'less than a minute')
    """
    for unit, size in UNITS:
        count = round(seconds / size)
        if count >= 2 or (count == 1 and unit == "minute"):
            return f"about {counted(count, unit)}"
    return "less than a minute"


def forecast(backbone: str, steps_left: int, seconds: float, batch_size: int) -> str:
    """Say how long a run takes, and which network suits a CPU if it is a slow one.

    Args:
        backbone: that is trained.
        steps_left: in the run.
        seconds: of one step.
        batch_size: images in a step.

    >>> print(forecast("mobilefacenet", 100, 0.6, 32))
    about 1 minute for the 100 steps left
    """
    left = steps_left * seconds
    text = _for_the_steps(left, steps_left)
    if left < LONG_SECONDS or batch_size > SLOW * seconds:
        return text
    return text + _for_a_cpu(backbone)


def first_forecast(
    learner: Learner, graph: Graph, backbone: str, steps_left: int, batch_size: int, share: int
) -> str:
    """Say how long a run takes before its first step, by a trial on few images.

    Args:
        learner: which is not changed.
        graph: of the backbone.
        backbone: its name.
        steps_left: in the run.
        batch_size: images in a step, of all processes.
        share: of them, those of this process.

    Returns:
        "" for a network or a device that is so fast that its first steps tell soon.
    """
    if graph.multiply_adds() * share < HEAVY:
        return ""
    images = np.zeros((TRIED, *graph.input_size, 3), np.uint8)
    learner.embed(images)  # the first is slow: allocation, tracing
    started = time.perf_counter()
    learner.embed(images)
    seconds = (time.perf_counter() - started) / TRIED * STEP_TO_FORWARD * share
    if batch_size > SLOW * seconds:
        return ""
    text = _for_the_steps(steps_left * seconds, steps_left)
    return f"at a first guess {text}{_for_a_cpu(backbone)}"


def _for_the_steps(seconds: float, steps_left: int) -> str:
    return f"{in_words(seconds)} for the {counted(steps_left, 'step')} left"


def _for_a_cpu(backbone: str) -> str:
    if backbone == CPU_NETWORK:
        return ""
    return (
        f"; {backbone} is slow here: on a CPU --backbone {CPU_NETWORK} suits better, in a new run"
    )
