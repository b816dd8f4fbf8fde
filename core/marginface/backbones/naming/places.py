"""Where in a file a network's arrays lie: under which prefix, and of which size."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from marginface.backbones import Graph, describe, names, parameter_names
from marginface.backbones.layers import Dropout, DropPath, MaskTokens, RestoreTokens
from marginface.backbones.weights import count_prefixes
from marginface.errors import MarginfaceError

# Height and width in pixels, the likeliest first: where several have the same shapes, it is taken.
SIZES = ((112, 112), (112, 96), (96, 112), *((side, side) for side in (224, 160, 128, 96, 64)))
WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod)(?=\.|$)")  # of PyTorch's, around modules
TRAINING_ONLY = (Dropout, DropPath, MaskTokens, RestoreTokens)


class Shaped(Protocol):
    """An array, or what stands for one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


class Place(NamedTuple):
    """A prefix, with its last dot, and how many of a network's names stand behind it."""

    prefix: str
    matches: int

    @property
    def bare(self) -> str:
        """The prefix without its last dot and what PyTorch's wrappers add.

        >>> Place("features.module.", 9).bare, Place("_orig_mod.module.", 9).bare
        ('features', '')
        """
        return WRAPPERS.sub("", self.prefix.removesuffix(".")).strip(".")

    @property
    def depth(self) -> int:
        """How many names the bare prefix joins."""
        return len(list(filter(None, self.bare.split("."))))


def places(stored: Iterable[str], expected: Iterable[str]) -> list[Place]:
    """Return the prefixes behind which expected names stand, best first.

    Most names count, then fewest dots: slots of an optimizer lie deeper than what they belong to.

    >>> places(["a.w", "a.b", "slots.a.w", "slots.a.b"], {"w", "b"})
    [Place(prefix='a.', matches=2), Place(prefix='slots.a.', matches=2)]
    """
    found = count_prefixes(stored, frozenset(expected))
    ranked = [Place(*each) for each in found.items()]
    return sorted(ranked, key=lambda place: (-place.matches, place.prefix.count(".")))


def networks() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each backbone's name and those of its arrays; one's own may take other sizes alone."""
    for name in names():
        with suppress(MarginfaceError):
            yield name, parameter_names(name)


def strays(stored: Iterable[str], place: Place, expected: Collection[str]) -> list[str]:
    """Return names behind a prefix that are not a network's, but begin as its own do.

    Another network of the family has them: a deeper one has its blocks, and more.
    """
    begin = {name.partition(".")[0] for name in expected}
    behind = (name for name in stored if name.startswith(place.prefix))
    rest = ((name, name.removeprefix(place.prefix)) for name in behind)
    return [n for n, own in rest if own not in expected and own.partition(".")[0] in begin]


def fitting_graphs(
    name: str,
    arrays: Mapping[str, Shaped],
    place: Place,
    embedding_size: int | None,
    input_size: tuple[int, int] | None,
) -> Iterator[Graph]:
    """Yield a backbone's descriptions, by size, whose shapes are those of the arrays at a place."""
    last = parameter_names(name)[-1]
    numbers = arrays[f"{place.prefix}{last}"].shape[:1] or (0,)
    for size in SIZES if input_size is None else (input_size,):
        try:
            graph = describe(name, embedding_size or int(numbers[0]), size)
        except MarginfaceError:  # a size that it does not take
            continue
        if all(
            tuple(arrays[f"{place.prefix}{own}"].shape) == parameter.shape
            for own, parameter in graph.parameters().items()
        ):
            yield graph


def same_inference(one: Graph, other: Graph) -> bool:
    """Return whether two networks with the same names of arrays compute the same outside training.

    >>> same_inference(describe("vit_t"), describe("vit_t_dp005_mask0"))
    True
    """
    return _computed(one) == _computed(other)


def _computed(graph: Graph) -> list[Any]:
    return [
        (type(node.layer), node.shape, {**vars(node.layer), "name": ""})
        for node in graph.nodes
        if not isinstance(node.layer, TRAINING_ONLY)
    ]
