"""Backbones: neutral descriptions that every framework and ONNX interpret."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from marginface.backbones.drawing import draw_backbone, split_noise
from marginface.backbones.edgeface import NETWORKS as EDGEFACES
from marginface.backbones.edgeface import edgeface
from marginface.backbones.ghostfacenet import STRIDES, ghostfacenet
from marginface.backbones.graph import IMAGES, Graph
from marginface.backbones.ir import NETWORKS, ir
from marginface.backbones.iresnet import UNITS, iresnet
from marginface.backbones.layers import Layout
from marginface.backbones.layouts import layouts
from marginface.backbones.mbf import WIDTHS, mbf
from marginface.backbones.mobilefacenet import mobilefacenet
from marginface.backbones.vit import SIZES, vit
from marginface.backbones.weights import check_weights, initial_weights, read_weights, write_weights
from marginface.checks import check_count, check_positive, check_rate, check_size
from marginface.errors import MarginfaceError, unknown_name
from marginface.own_code import in_one_line

__all__ = [
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
    "split_noise",
    "write_weights",
]

Build = Callable[[Graph, float], None]
# What a graph says of what was asked for, in the order of its fields.
ASKED = ("name", "input_size", "embedding_size", "dropout_rate", "batch_norm_epsilon")

_BUILDERS: dict[str, Build] = {
    **dict.fromkeys(UNITS, iresnet),
    **dict.fromkeys(NETWORKS, ir),
    **dict.fromkeys(WIDTHS, mbf),
    "mobilefacenet": mobilefacenet,
    **dict.fromkeys(SIZES, vit),
    **dict.fromkeys(EDGEFACES, edgeface),
    **dict.fromkeys(STRIDES, ghostfacenet),
}


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

    The same name may be given again by the same module to a function of the same name, whatever
    it does now, as when a notebook's cell is edited and runs again.

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
    if name in _BUILDERS and _home(build) != _home(_BUILDERS[name]):
        raise MarginfaceError(f"there is a backbone called '{name}'; choose another name")
    _BUILDERS[name] = build


def parameter_names(name: str) -> tuple[str, ...]:
    """Return the canonical names of a backbone's arrays, the same at any size, kept for next time.

    >>> len(parameter_names("mbf"))
    283
    """
    return _parameter_names(name, _BUILDERS.get(name))


@cache
def _parameter_names(name: str, build: Build | None) -> tuple[str, ...]:
    del build  # but for telling two that had one name
    return tuple(describe(name).parameters())


def _home(build: Build) -> tuple[str, str]:
    """Where a function is defined; of a partial its function, of another object its class."""
    named: Any = build.func if isinstance(build, partial) else build
    named = named if hasattr(named, "__qualname__") else type(named)
    return named.__module__, named.__qualname__


def describe(
    name: str,
    embedding_size: int = 512,
    input_size: tuple[int, int] = (112, 112),
    dropout: float = 0.0,
    batch_norm_epsilon: float | None = None,
) -> Graph:
    """Return the neutral description of a backbone.

    Args:
        name: one of `names()`.
        embedding_size: length of the embedding.
        input_size: height and width of the images in pixels.
        dropout: share of the values dropped before the embedding layer, in training.
        batch_norm_epsilon: of every batch normalisation, where weights were trained with another
            than the network's own.

    Raises:
        MarginfaceError: an unknown name, or a value out of range.

    >>> len(describe("mbf").parameters())
    283
    """
    if name not in _BUILDERS:
        unknown = unknown_name("backbone", name, _BUILDERS, listed_by="marginface train --help")
        raise MarginfaceError(
            f"{unknown}; one of your own must be registered first, "
            "with marginface.backbones.register_backbone in the program that uses it"
        )
    embedding_size = check_count("embedding_size", embedding_size)
    input_size = check_size("input_size", input_size)
    if batch_norm_epsilon is not None:
        check_positive("batch_norm_epsilon", batch_norm_epsilon)
        batch_norm_epsilon = float(batch_norm_epsilon)
    asked = (name, input_size, embedding_size, check_rate("dropout", dropout), batch_norm_epsilon)
    graph = Graph(*asked)
    with in_one_line(f"backbone '{name}' cannot be built", MarginfaceError):
        _BUILDERS[name](graph, graph.dropout_rate)
    if tuple(getattr(graph, each) for each in ASKED) != asked:
        raise MarginfaceError(
            f"backbone '{name}' sets the graph's {', '.join(ASKED[:-1])} or {ASKED[-1]}, "
            "which say what was asked for; let its function read them alone"
        )
    graph.check_end()
    return graph
