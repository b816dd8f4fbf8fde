"""What a file of weights says of itself by the names, shapes and types of its arrays, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from marginface.backbones.naming import Recognised, epsilons
from marginface.cards.readme import NOT_STATED
from marginface.text import listed
from marginface.training.published_heads import HEAD, class_weights_in


def facts_of_weights(
    path: Path, arrays: Mapping[str, NDArray[Any]], found: Sequence[Recognised]
) -> dict[str, str]:
    """Return what is told of a file of weights, beside sizes and pixels, by what it says.

    Args:
        path: the file.
        arrays: as `read_file` reads them.
        found: what they may be the weights of.
    """
    first = found[0]
    projects = dict.fromkeys(naming for each in found for naming in each.namings)
    prefix = first.place.prefix
    nobody = f"nobody: names with the prefix '{prefix}'" if prefix else "nobody: names without one"
    types = Counter(
        "bfloat16" if name in getattr(arrays, "bfloat16", ()) else str(arrays[name].dtype)
        for name in first.account.used.values()
    )
    counters = f", {each} counters" if (each := len(first.account.counters)) else ""
    facts = {
        "architecture": _architecture(found),
        "named as by": " or ".join(map(str, projects)) or nobody,
        "stated in": "; ".join(each.source for each in projects) or NOT_STATED,
        "BatchNorm eps": _epsilon(first),
        "tensors": f"{len(arrays)}: {first.account}{counters}",
        "dtype": listed(types) if len(types) == 1 else listed(f"{n} {t}" for t, n in types.items()),
        "class weights": listed(_class_weights(path, first)) or "none beside",
    }
    if len({tuple(each.pixels().items()) for each in projects}) > 1:
        height, width = first.graph.input_size
        facts["input"] = f"{width} x {height} pixels; as the project has it"
        facts["named as by"] += "; they differ, convert --channels says which it is"
    return facts


def _architecture(found: Sequence[Recognised]) -> str:
    first = found[0]
    if len(found) > 1:
        names = " or ".join(each.graph.name for each in found)
        return f"{names}: their names and shapes are the same, convert --backbone says which"
    if first.alike:
        return f"{' or '.join((first.graph.name, *first.alike))}, the same but for training"
    return first.graph.name


def _epsilon(found: Recognised) -> str:
    own = listed(f"{value:g}" for value in sorted(set(epsilons(found.graph).values()))) or "none"
    return own if found.namings else f"{NOT_STATED}; the network's is taken, {own}"


def _class_weights(path: Path, found: Recognised) -> Iterator[str]:
    """Yield what holds a vector for each identity, and how many there are."""
    numbers = found.graph.embedding_size
    for name in found.account.training:
        shape = found.account.left[name]
        if len(shape) == 2 and numbers in shape:
            yield f"{name}: {shape[shape[0] == numbers]:,} identities"
    if HEAD in found.account.outside and (weight := class_weights_in(path)):
        yield f"{HEAD}: {weight.shape[0]:,} identities"
