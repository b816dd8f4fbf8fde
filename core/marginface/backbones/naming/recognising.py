"""Recognise whose weights a file holds, and of which network, by names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from marginface.backbones import Graph, check_weights, describe, parameter_names
from marginface.backbones.naming.account import Account
from marginface.backbones.naming.elsewhere import known_elsewhere
from marginface.backbones.naming.nearest import Likeness, likeness, nearest
from marginface.backbones.naming.places import (
    SIZES,
    Place,
    fitting_graphs,
    networks,
    places,
    same_inference,
    strays,
)
from marginface.backbones.naming.table import NAMINGS, Naming
from marginface.backbones.weights import check_finite
from marginface.errors import MarginfaceError
from marginface.text import listed

COUNTERS = ("num_batches_tracked", "n_averaged")  # what PyTorch adds to a state_dict
CHOICES = ("channels", "mean", "std")


@dataclass(frozen=True)
class Recognised:
    """Whose weights a file holds, and of which network.

    Args:
        source: the file, for messages.
        graph: the network, with the BatchNorm epsilon of the weights.
        namings: of the projects whose files are named so; none for a prefix that is nobody's.
        place: the prefix behind which the network's names stand.
        alike: other backbones that differ in training alone.
        account: what became of every array.
        arrays: the network's, under canonical names.
    """

    source: str
    graph: Graph
    namings: tuple[Naming, ...]
    place: Place
    alike: tuple[str, ...]
    account: Account
    arrays: Mapping[str, NDArray[Any]]

    def pixels(self, **given: Any) -> dict[str, Any]:
        """Return the channel order, mean and std of pixels, with what the user gives in its place.

        Args:
            given: `channels`, `mean` and `std`; None where the user leaves it to the naming.

        Raises:
            MarginfaceError: projects with these very names differ in one that is not given.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        for name in CHOICES:
            stated = {each: each.pixels().get(name) for each in self.namings}
            values = {value for value in stated.values() if value is not None}
            if name in chosen or not values:
                continue
            if len(values) > 1:
                told = " or ".join(f"{each.name} ({value})" for each, value in stated.items())
                raise MarginfaceError(
                    f"{self.source} has names that several projects use, {told}; say which with "
                    f"--{name} {' or '.join(map(str, stated.values()))}"
                )
            chosen[name] = values.pop()
        return chosen

    def __str__(self) -> str:
        """Say what the file holds, in one line."""
        height, width = self.graph.input_size
        text = f"{self.graph.name}, {self.graph.embedding_size} numbers from {height}x{width}"
        if self.alike:
            text += f" (or {listed(self.alike)}, the same but for training)"
        if not self.namings:
            known = [
                f"{each.name} has {each.prefixes[0] or 'none'}"
                + (f", in {each.wrapper}" if each.wrapper and not each.prefixes[0] else "")
                for each in NAMINGS
                if self.graph.name in each.backbones
            ]
            prefix = self.place.prefix
            text += f"; prefix '{prefix}'" if prefix else "; names without a prefix"
            text += f" {'is' if prefix else 'are'} no project's"
            text += f" ({', '.join(known)})" if known else ""
            return f"{text}: pixels are not stated, the usual ones are taken"
        return f"{text}; named as by {' or '.join(map(str, self.namings))}"


def recognise(
    arrays: Mapping[str, NDArray[Any]],
    backbone: str | None = None,
    *,
    embedding_size: int | None = None,
    input_size: tuple[int, int] | None = None,
    source: str = "weights",
) -> Recognised:
    """Say of which network arrays are the weights, and whose names they have.

    Args:
        arrays: as a file holds them.
        backbone: the network, where it is known; None tries all.
        embedding_size: length of an embedding; None takes it from the shapes.
        input_size: height and width in pixels; None takes the likeliest that has these shapes.
        source: the file, for messages.

    Raises:
        MarginfaceError: of no network that there is, or of several; the message says which is the
            nearest and what differs.

    >>> from marginface.backbones import initial_weights
    >>> weights = initial_weights(describe("mbf", 64), seed=0)
    >>> print(recognise({f"module.{name}": array for name, array in weights.items()}))
    mbf, 64 numbers from 112x112; named as by insightface (channels rgb, mean 127.5, std 127.5)
    """
    found, *others = candidates(
        arrays, backbone, embedding_size=embedding_size, input_size=input_size, source=source
    )
    if others:
        names = [each.graph.name for each in (found, *others)]
        raise MarginfaceError(
            f"{source} has the names and shapes of several networks, {listed(names)}; say which "
            "with --backbone"
        )
    return found


def candidates(
    arrays: Mapping[str, NDArray[Any]],
    backbone: str | None = None,
    *,
    embedding_size: int | None = None,
    input_size: tuple[int, int] | None = None,
    source: str = "weights",
) -> list[Recognised]:
    """Return what arrays may be the weights of, at least one: as `recognise`, without choosing.

    Networks that differ in training alone are one.
    """
    held = {name: arrays[name] for name in arrays if not name.endswith(COUNTERS)}
    found = _likeliest(_fitting(held, backbone, embedding_size, input_size))
    if not found:
        raise _unknown(held, backbone, embedding_size, input_size, source)
    _check_one(found, source)
    groups: list[list[tuple[Graph, Place]]] = []
    for each in found:
        same = next((group for group in groups if same_inference(group[0][0], each[0])), None)
        if same is None:
            groups.append(same := [])
        same.append(each)
    return [_recognised(arrays, held, group, source) for group in groups]


def _recognised(
    arrays: Mapping[str, NDArray[Any]],
    held: Mapping[str, NDArray[Any]],
    alike: list[tuple[Graph, Place]],
    source: str,
) -> Recognised:
    """Account for arrays, of which `held` are no counters, as those of networks that are one."""
    graph, place = alike[0]
    stored = {name: f"{place.prefix}{name}" for name in graph.parameters()}
    used = set(stored.values())
    left = {name: tuple(array.shape) for name, array in held.items() if name not in used}
    wrapper, outside = getattr(arrays, "wrapper", ""), getattr(arrays, "outside", ())
    namings = namings_at(graph, place, wrapper)
    training = tuple(name for name in left if any(each.trains_with(name) for each in namings))
    counters = tuple(name for name in arrays if name not in held)
    epsilon = next((each.epsilon for each in namings if each.epsilon), None)
    taken = check_weights(graph, {name: arrays[there] for name, there in stored.items()}, source)
    check_finite(taken, source)
    size = graph.embedding_size, graph.input_size
    return Recognised(
        source,
        describe(graph.name, *size, batch_norm_epsilon=epsilon),
        namings,
        place,
        tuple(each.name for each, _ in alike[1:]),
        Account(stored, left, training, outside, counters),
        taken,
    )


def _fitting(
    held: Mapping[str, NDArray[Any]],
    backbone: str | None,
    embedding_size: int | None,
    input_size: tuple[int, int] | None,
) -> list[tuple[Graph, Place]]:
    """Return the networks whose names and shapes some arrays have, and where in a file."""
    found = []
    for name, own in networks() if backbone is None else [(backbone, parameter_names(backbone))]:
        for place in places(held, own):
            if place.matches == len(own) and not strays(held, place, own):
                graphs = fitting_graphs(name, held, place, embedding_size, input_size)
                found += [(graph, place) for graph in graphs][:1]
    return found


def _likeliest(found: list[tuple[Graph, Place]]) -> list[tuple[Graph, Place]]:
    """Leave out what is part of something else, and what is for unlikely sizes.

    Networks whose names are among another's at the same place; copies of a network that lie deeper,
    as slots of an optimizer.
    """
    best: dict[str, tuple[int, int]] = {}
    outermost: dict[str, int] = {}
    for graph, place in found:
        best[place.prefix] = min(_rank(graph, place), best.get(place.prefix, (0, 0)))
        outermost[graph.name] = min(place.depth, outermost.get(graph.name, place.depth))
    return [
        (graph, place)
        for graph, place in found
        if _rank(graph, place) == best[place.prefix] and place.depth == outermost[graph.name]
    ]


def _rank(graph: Graph, place: Place) -> tuple[int, int]:
    return -place.matches, _size_rank(graph.input_size)


def _size_rank(size: tuple[int, int]) -> int:
    return SIZES.index(size) if size in SIZES else len(SIZES)


def namings_at(graph: Graph, place: Place, wrapper: str = "") -> tuple[Naming, ...]:
    """Return the namings that have a network's names behind such a prefix.

    Args:
        graph: the network.
        place: of its names.
        wrapper: the key of the dictionary around them, which must tell where no prefix does.
    """
    return tuple(
        each
        for each in NAMINGS
        if graph.name in each.backbones
        and place.bare in each.prefixes
        and (place.bare or each.wrapper in ("", wrapper))
    )


def _check_one(found: list[tuple[Graph, Place]], source: str) -> None:
    """Raise if several networks are there, as a student and its teacher."""
    at = {place.prefix: graph.name for graph, place in reversed(found)}
    if len(at) < 2:
        return
    if len({*at.values()}) == 1:
        raise MarginfaceError(
            f"{source} holds several backbones, {' and '.join(map(repr, sorted(at)))}; save the "
            "arrays of one in a file of its own"
        )
    told = [f"{name} at '{prefix}'" for prefix, name in sorted(at.items())]
    raise MarginfaceError(f"{source} holds {' and '.join(told)}; say which with --backbone")


def _unknown(
    held: Mapping[str, NDArray[Any]],
    backbone: str | None,
    embedding_size: int | None,
    input_size: tuple[int, int] | None,
    source: str,
) -> MarginfaceError:
    """Build the error for arrays of no network, or of another than was asked for."""
    if not held:
        return MarginfaceError(f"{source} holds no arrays; expected a backbone's")
    text = f"{source} holds the weights of no network that marginface has"
    asked = own = None
    if backbone is not None:
        asked = describe(backbone, embedding_size or 512, input_size or SIZES[0])
        own = likeness(asked, held, source)
        if not own.others:
            return _not_alone(held, own, source)
        text = f"{source} does not fit {own}"
    if elsewhere := known_elsewhere(held):
        return MarginfaceError(f"{text}: it is {elsewhere}")
    near = nearest(held, asked)
    if near is None and own is not None and own.count:
        return MarginfaceError(f"{text}: is the file whole?")
    if near is None:
        first = listed(map(repr, held), 3)
        return MarginfaceError(f"{text}, and none is near; its arrays are called {first}")
    if near.others:
        return MarginfaceError(f"{text}; the nearest is {near}: is the file whole?")
    if asked is None:
        if embedding_size is None and input_size is None:
            return _not_alone(held, near, source)
        text = f"{source} holds other weights than were asked for"
    return MarginfaceError(f"{text}; it is {near}: give {near.options(input_size)}")


def _not_alone(held: Mapping[str, NDArray[Any]], whole: Likeness, source: str) -> MarginfaceError:
    """Build the error for a network's arrays in several places, or among others of its family."""
    own = whole.graph.parameters()
    found = places(held, own)
    for place in found:
        others = strays(held, place, own)
        if others and place.matches == len(own):
            return MarginfaceError(
                f"{source} holds {whole}, and {len(others)} more that it does not have, such as "
                f"'{others[0]}'; is it a variant? save the arrays of the network alone"
            )
    prefixes = " and ".join(repr(place.prefix) for place in found[:2])
    return MarginfaceError(
        f"{source} holds {whole}, but behind {prefixes}; give all names one prefix"
    )
