"""Weights for another BatchNorm epsilon: the same embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.backbones import Graph
from marginface.backbones.layers import BatchNorm


def epsilons(graph: Graph) -> dict[str, float]:
    """Return the epsilon of each batch normalisation, by the name of its running variance."""
    return {
        f"{node.layer.name}.running_var": node.layer.epsilon
        for node in graph.nodes
        if isinstance(node.layer, BatchNorm)
    }


def with_epsilon(
    arrays: Mapping[str, NDArray[Any]], own: Graph, wanted: Graph
) -> dict[str, NDArray[Any]]:
    """Return weights for a network that differs in epsilon alone, with the same embeddings.

    What a normalisation divides by, sqrt(variance + epsilon), stays: the running variances take up
    the difference.

    >>> from marginface.backbones import describe, initial_weights
    >>> graph = describe("iresnet18", 64, batch_norm_epsilon=2e-5)
    >>> moved = with_epsilon(initial_weights(graph, 0), graph, describe("iresnet18", 64))
    >>> round(float(moved["bn1.running_var"][0]), 6)
    1.00001
    """
    theirs = epsilons(wanted)
    moved = {}
    for name, epsilon in epsilons(own).items():
        difference = epsilon - theirs[name]
        if difference and name in arrays:
            variance = np.asarray(arrays[name])
            moved[name] = (variance.astype(np.float64) + difference).astype(variance.dtype)
    return {**arrays, **moved}
