"""Backbones: neutral descriptions that every framework and ONNX interpret."""

from collections.abc import Callable
from numbers import Real

from marginface.backbones.graph import Graph
from marginface.backbones.iresnet import BLOCKS, iresnet
from marginface.backbones.layouts import Layout, layouts
from marginface.backbones.mbf import mbf
from marginface.backbones.mobilefacenet import mobilefacenet
from marginface.backbones.weights import check_weights, initial_weights, read_weights, write_weights
from marginface.checks import check_count, check_size
from marginface.errors import MarginfaceError, unknown_name

__all__ = [
    "Graph",
    "Layout",
    "check_weights",
    "describe",
    "initial_weights",
    "layouts",
    "names",
    "read_weights",
    "write_weights",
]

_BUILDERS: dict[str, Callable[[Graph, float], None]] = {
    **dict.fromkeys(BLOCKS, iresnet),
    "mbf": mbf,
    "mobilefacenet": mobilefacenet,
}


def names() -> list[str]:
    """Return the names that `describe` accepts."""
    return list(_BUILDERS)


def describe(
    name: str,
    embedding_size: int = 512,
    input_size: tuple[int, int] = (112, 112),
    dropout: float = 0.0,
) -> Graph:
    """Return the neutral description of a backbone.

    Args:
        name: one of `names()`.
        embedding_size: length of the embedding.
        input_size: height and width of the images in pixels.
        dropout: share of the values dropped before the embedding layer, in training.

    Raises:
        MarginfaceError: an unknown name, or a value out of range.

    >>> len(describe("mbf").parameters())
    283
    """
    if name not in _BUILDERS:
        raise unknown_name("backbone", name, _BUILDERS)
    embedding_size = check_count("embedding_size", embedding_size)
    input_size = check_size("input_size", input_size)
    if not isinstance(dropout, Real) or not 0 <= dropout < 1:
        raise MarginfaceError(f"dropout must be in [0, 1), got {dropout!r}")
    graph = Graph(name, input_size, embedding_size)
    _BUILDERS[name](graph, dropout)
    return graph
