"""The network that weights most likely belong to, for messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from marginface.backbones import Graph, describe
from marginface.backbones.naming.places import networks, places
from marginface.backbones.weights import fitting
from marginface.errors import MarginfaceError

ALIGNED_SIZE = (112, 112)  # the field's aligned face, height and width
SIZES = (ALIGNED_SIZE, (112, 96))  # and its crops
LEAST_SHARE = 0.5  # of a network's arrays, or of the weights, for it to be named


@dataclass(frozen=True)
class Likeness:
    """A network, and how far some weights are its own."""

    graph: Graph
    count: int  # of its arrays that are there
    others: dict[str, tuple[int, ...]]  # of its other arrays, the shape that is there, or ()

    def __str__(self) -> str:
        """Describe the network, what fits and the first array that does not."""
        graph, total = self.graph, self.count + len(self.others)
        height, width = graph.input_size
        text = f"{graph.name} of {graph.embedding_size} numbers from {height}x{width} pixels"
        if not self.others:
            return f"{text}, all {total} arrays"
        name, shape = next(iter(self.others.items()))
        expected = list(graph.parameters()[name].shape)
        found = f"is {list(shape)} instead of {expected}" if shape else "is missing"
        return f"{text}, {self.count} of {total} arrays ({name} {found})"

    def options(self, asked_size: tuple[int, int] | None = None) -> str:
        """Return the options that ask for the network, where images of a size were asked for."""
        height, width = self.graph.input_size
        options = f"--backbone {self.graph.name} --embedding-size {self.graph.embedding_size}"
        if (height, width) == ALIGNED_SIZE:
            other = asked_size not in (None, ALIGNED_SIZE)
            return f"{options} --input-size {height},{width}, without --crop" if other else options
        if height <= ALIGNED_SIZE[0] and width <= ALIGNED_SIZE[1]:
            top, left = (ALIGNED_SIZE[0] - height) // 2, (ALIGNED_SIZE[1] - width) // 2
            return f"{options} --crop {top},{left},{height},{width}"
        return f"{options} --input-size {height},{width}"


def likeness(
    graph: Graph, weights: Mapping[str, NDArray[Any]], source: str = "weights"
) -> Likeness:
    """Compare weights with a network, by names and shapes."""
    fits, others, _ = fitting(graph, weights, source)
    return Likeness(graph, len(fits), others)


def nearest(weights: Mapping[str, NDArray[Any]], graph: Graph | None = None) -> Likeness | None:
    """Return the network that most of the weights fit; None if none is near.

    Of two, the one that has fewer other arrays: a deeper network has all names of its like.

    Args:
        weights: by name.
        graph: one that was asked for, than which it must be nearer.
    """
    best: Likeness | None = None
    asked = (graph.name, graph.embedding_size, graph.input_size) if graph else None
    numbers = graph.embedding_size if graph else 512
    sizes = dict.fromkeys((*([graph.input_size] if graph else []), *SIZES))
    for name in _alike(weights):
        for size in sizes:
            try:
                each = likeness(describe(name, numbers, size), weights)
                if found := _embedding_size(each, weights):
                    each = likeness(describe(name, found, size), weights)
            except MarginfaceError:  # a size that this network does not take
                continue
            same = (name, each.graph.embedding_size, size)
            if same != asked and (best is None or _rank(each) > _rank(best)):
                best = each
    if best and graph and _rank(likeness(graph, weights)) >= _rank(best):
        return None
    enough = best and best.count >= LEAST_SHARE * min(best.count + len(best.others), len(weights))
    return best if enough else None


def _alike(weights: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the networks that have the most names in common with some weights."""
    matches = {}
    for name, own in networks():
        found = places(weights, own)
        matches[name] = found[0].matches if found else 0
    most = max(matches.values())
    return [name for name, count in matches.items() if count and count >= LEAST_SHARE * most]


def _rank(each: Likeness) -> tuple[int, int]:
    return each.count, -len(each.others)


def _embedding_size(found: Likeness, weights: Mapping[str, NDArray[Any]]) -> int | None:
    """Return the length of the embedding that weights give, by the network's last array."""
    last = list(found.graph.parameters())[-1]
    shapes = [array.shape for name, array in weights.items() if name.endswith(last)]
    return int(shapes[0][0]) if shapes and shapes[0] else None
