"""A step's noise for the backbone: the same in every framework and on every process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from marginface.backbones.graph import Graph

T = TypeVar("T")
PREFIX = "backbone."  # of the layers' noise among a step's draws
# The third word keeps it apart from the loss's and the classes' draws, [seed, step], and from the
# starts of the backbone, seed, and of the head, [seed, 1]. Those are not all apart from each other:
# the streams of steps 0 and 1 are the starts', and stay so, for runs to repeat.
STREAM = 1


def draw_backbone(graph: Graph, seed: int, step: int, batch: int) -> dict[str, NDArray[Any]]:
    """Draw a step's noise for the whole batch, as `backbone.<layer>`, from a stream of its own.

    >>> from marginface.backbones import describe
    >>> list(draw_backbone(describe("mbf", dropout=0.4), seed=0, step=7, batch=8))
    ['backbone.dropout']
    """
    drawn = graph.draw(np.random.default_rng([seed, step, STREAM]), batch)
    return {f"{PREFIX}{name}": value for name, value in drawn.items()}


def split_noise(draw: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Split a step's draws into the backbone's noise, by layer, and the head's draws.

    >>> split_noise({"margins": 1, "backbone.dropout": 2})
    ({'dropout': 2}, {'margins': 1})
    """
    noise = {name: value for name, value in draw.items() if name.startswith(PREFIX)}
    others = {name: value for name, value in draw.items() if name not in noise}
    return {name.removeprefix(PREFIX): value for name, value in noise.items()}, others
