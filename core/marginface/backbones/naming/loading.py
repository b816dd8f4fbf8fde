"""Weights of any naming for a network that there is already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from marginface.backbones import Graph, check_weights, describe
from marginface.backbones.naming.elsewhere import known_elsewhere
from marginface.backbones.naming.epsilon import with_epsilon
from marginface.backbones.naming.nearest import nearest
from marginface.backbones.naming.places import places
from marginface.backbones.naming.recognising import namings_at
from marginface.backbones.naming.table import Naming
from marginface.backbones.weights import UsualEpsilon
from marginface.errors import MarginfaceError

Arrays = dict[str, NDArray[Any]]


def fit_weights(
    graph: Graph, weights: Mapping[str, NDArray[Any]], source: str = "weights"
) -> Arrays:
    """Return weights, named as a project names them, for a network.

    Where the project, or the model that they are of, computes with another BatchNorm epsilon than
    the network, running variances are moved so that embeddings stay.

    Raises:
        MarginfaceError: as `check_weights`, and which network they are of.
    """
    try:
        arrays = check_weights(graph, weights, source)
    except MarginfaceError as error:
        if elsewhere := known_elsewhere(weights):
            raise MarginfaceError(f"{error}; it is {elsewhere}") from error
        near = nearest(weights, graph)
        if near is None:
            raise
        what = "the nearest is" if near.others else "it is"
        raise MarginfaceError(f"{error}; {what} {near}") from error
    if isinstance(weights, UsualEpsilon):
        return with_epsilon(arrays, describe(graph.name, *_sizes(graph)), graph)
    return in_epsilon_of(graph, arrays, namings_of(graph, weights))


def namings_of(graph: Graph, weights: Mapping[str, Any]) -> tuple[Naming, ...]:
    """Return the namings that the names of a network's weights have."""
    found: Iterable[Any] = places(weights, graph.parameters())[:1]
    wrapper = getattr(weights, "wrapper", "")
    return next((namings_at(graph, place, wrapper) for place in found), ())


def in_epsilon_of(graph: Graph, arrays: Arrays, namings: Iterable[Naming]) -> Arrays:
    """Return weights of a project as `fit_weights` does, from whole ones under canonical names."""
    epsilon = next((each.epsilon for each in namings if each.epsilon), None)
    if epsilon is None:
        return arrays
    own = describe(graph.name, *_sizes(graph), batch_norm_epsilon=epsilon)
    return with_epsilon(arrays, own, graph)


def _sizes(graph: Graph) -> tuple[int, tuple[int, int]]:
    return graph.embedding_size, graph.input_size
