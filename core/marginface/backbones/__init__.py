"""Backbones: neutral descriptions that every framework and ONNX interpret."""

import inspect
from collections.abc import Callable

from marginface.backbones.drawing import draw_backbone, split_draw
from marginface.backbones.graph import IMAGES, Graph
from marginface.backbones.iresnet import UNITS, iresnet
from marginface.backbones.layers import Layout
from marginface.backbones.layouts import layouts
from marginface.backbones.mbf import mbf
from marginface.backbones.mobilefacenet import mobilefacenet
from marginface.backbones.vit import SIZES, vit
from marginface.backbones.weights import check_weights, initial_weights, read_weights, write_weights
from marginface.checks import check_count, check_rate, check_size
from marginface.errors import MarginfaceError, unknown_name

__all__ = [
    "BUILT_IN",
    "IMAGES",
    "Graph",
    "Layout",
    "check_weights",
    "describe",
    "draw_backbone",
    "initial_weights",
    "layouts",
    "names",
    "read_weights",
    "register_backbone",
    "split_draw",
    "write_weights",
]

Build = Callable[[Graph, float], None]

_BUILDERS: dict[str, Build] = {
    **dict.fromkeys(UNITS, iresnet),
    "mbf": mbf,
    "mobilefacenet": mobilefacenet,
    **dict.fromkeys(SIZES, vit),
}
BUILT_IN = frozenset(_BUILDERS)  # what every process knows, whatever program it runs


def names() -> list[str]:
    """Return the names that `describe` accepts."""
    return list(_BUILDERS)


def register_backbone(name: str, build: Build) -> None:
    """Let a network of your own be created, trained and exported under a name.

    Args:
        name: what `create_backbone`, a run's configuration and a model's files call it.
        build: appends the layers to an empty graph, up to [graph.embedding_size]; takes the graph
            and the share that `dropout` drops.

    Raises:
        MarginfaceError: no name, one that is taken, or nothing that takes a graph and a dropout.

    The same name may be given again to the same function, as when a notebook's cell runs again:
    a module's function is known by its name, whatever it does now; a lambda or a function within
    another by its code and what it closes over.

    >>> def patches(graph, dropout):
    ...     x = graph.conv("stem", IMAGES, 8, 16, stride=16)
    ...     graph.linear("fc", graph.flatten(x), graph.embedding_size, bias=False)
    >>> register_backbone("patches", patches)
    >>> list(describe("patches").parameters())
    ['stem.weight', 'fc.weight']
    """
    if not isinstance(name, str) or not name:
        raise MarginfaceError(f"a backbone's name must be a text, got {name!r}")
    if not callable(build):
        raise MarginfaceError(
            f"backbone '{name}' must come with a function that appends its layers, "
            f"build(graph, dropout), got {build!r}"
        )
    try:
        inspect.signature(build).bind(None, 0.0)
    except (TypeError, ValueError) as error:  # a ValueError where Python cannot tell
        raise MarginfaceError(
            f"backbone '{name}' must come with a function that takes two arguments, "
            f"build(graph, dropout); {build!r} does not: {error}"
        ) from error
    if name in _BUILDERS and not _same(build, _BUILDERS[name]):
        raise MarginfaceError(f"there is a backbone called '{name}'; choose another name")
    _BUILDERS[name] = build


def _same(one: Build, other: Build) -> bool:
    """Whether two functions are one, defined anew: in a notebook's cell that is run again."""
    parts = ["__module__", "__qualname__"]
    if "<" in getattr(one, "__qualname__", ""):  # <lambda>, <locals>: many may have that name
        parts += ["__code__", "__closure__", "__defaults__"]
    return all(getattr(one, part, one) == getattr(other, part, other) for part in parts)


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
        raise MarginfaceError(
            f"{unknown_name('backbone', name, _BUILDERS)}; one of your own must be registered "
            "first, with marginface.backbones.register_backbone in the program that uses it"
        )
    embedding_size = check_count("embedding_size", embedding_size)
    input_size = check_size("input_size", input_size)
    graph = Graph(name, input_size, embedding_size, check_rate("dropout", dropout))
    _BUILDERS[name](graph, graph.dropout_rate)
    graph.check_end()
    return graph
