"""Write weights as another project's own code reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.arrays import save_file
from marginface.atomic import replacing
from marginface.backbones import Graph, describe
from marginface.backbones.naming.epsilon import epsilons, with_epsilon
from marginface.backbones.naming.table import Naming
from marginface.errors import MarginfaceError
from marginface.pickles.torch_writing import write_torch_file

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")


def state_dict(
    graph: Graph, arrays: Mapping[str, NDArray[Any]], naming: Naming | None = None
) -> dict[str, NDArray[Any]]:
    """Return weights under a project's names, with the counters that PyTorch's loading wants.

    Where the project computes with another BatchNorm epsilon, running variances are moved so that
    embeddings stay; canonical names are for the network's usual one.

    Args:
        graph: the network.
        arrays: its weights, under canonical names.
        naming: of the project; None for canonical names.

    Raises:
        MarginfaceError: the project has no such network.

    >>> from marginface.backbones import initial_weights
    >>> from marginface.backbones.naming import find_naming
    >>> graph = describe("iresnet18", 64)
    >>> list(state_dict(graph, initial_weights(graph, 0), find_naming("magface")))[:2]
    ['features.module.conv1.weight', 'features.module.bn1.weight']
    """
    prefix, wanted = "", describe(graph.name, graph.embedding_size, graph.input_size)
    if naming is not None:
        wanted = as_computed_by(naming, graph)
        prefix = f"{naming.prefixes[0]}." if naming.prefixes[0] else ""
    arrays = with_epsilon(arrays, graph, wanted)
    last = epsilons(graph)  # of each normalisation, before its counter
    named = {}
    for name in graph.parameters():
        named[f"{prefix}{name}"] = np.asarray(arrays[name])
        if name in last:
            counter = f"{prefix}{name.removesuffix('running_var')}num_batches_tracked"
            named[counter] = np.zeros((), np.int64)
    return named


def as_computed_by(naming: Naming, graph: Graph) -> Graph:
    """Return a network with a project's BatchNorm epsilon; raise if the project has none such."""
    if graph.name not in naming.backbones:
        raise MarginfaceError(
            f"{naming.name} has no {graph.name}; its networks are {', '.join(naming.backbones)}"
        )
    size = graph.embedding_size, graph.input_size
    return describe(graph.name, *size, batch_norm_epsilon=naming.epsilon)


def check_suffix(path: Path) -> None:
    """Raise unless weights can be written under a name."""
    if path.suffix.lower() not in SUFFIXES:
        raise MarginfaceError(f"weights are written as {', '.join(SUFFIXES)}, got '{path.name}'")


def write_state_dict(
    path: Path, graph: Graph, arrays: Mapping[str, NDArray[Any]], naming: Naming | None = None
) -> None:
    """Write weights as `state_dict` names them, under the final name only when whole.

    Args:
        path: a .safetensors, or a .pt, .pth or .ckpt that `torch.load(weights_only=True)` reads.
        graph, arrays, naming: as `state_dict` takes them.

    Raises:
        MarginfaceError: as `state_dict`, or the file could not say whose names it has.
    """
    check_suffix(path)
    safe = path.suffix.lower() == ".safetensors"
    if safe and naming is not None and naming.wrapper and not naming.prefixes[0]:
        raise MarginfaceError(
            f"{naming.name}'s files are told by the dictionary {naming.wrapper} alone, which "
            f"{path.name} cannot have; write a .pt"
        )
    named = state_dict(graph, arrays, naming)
    with replacing(path) as part:
        if safe:
            save_file(named, part)
        else:
            wrapper = naming.wrapper if naming is not None else ""
            write_torch_file(part, {wrapper: named} if wrapper else named)
