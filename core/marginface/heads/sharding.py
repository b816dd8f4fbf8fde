"""Shards of a class-parallel head: the classes that each process owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.arrays import ArraySource
from marginface.errors import MarginfaceError
from marginface.losses import MarginLoss

UPDATE_APART = (
    "update steps each process's class weights by the gradient of its own samples; make the head "
    "with shard=Shard(rank, size), or leave the weights to an optimizer"
)
ONCE = (
    "a head with update was called for several backward passes, or goes back a second time: its "
    "weights have moved since; call it once, and go back once, for each step"
)


@dataclass(frozen=True)
class Shard:
    """One process's part of the classes: a range, and the first ranges may be one longer.

    Args:
        index: the process's number, from 0.
        count: how many processes share the classes.

    Raises:
        MarginfaceError: an index that is not in 0 .. count - 1.

    >>> [Shard(i, 3).classes(10) for i in range(3)]
    [range(0, 4), range(4, 7), range(7, 10)]
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        whole = isinstance(self.index, int) and isinstance(self.count, int)
        if not (whole and 0 <= self.index < self.count):
            raise MarginfaceError(f"shard {self.index} of {self.count} is none; count from 0")

    def classes(self, num_classes: int) -> range:
        """Return the classes that this process owns.

        Raises:
            MarginfaceError: fewer classes than processes.
        """
        if num_classes < self.count:
            raise MarginfaceError(
                f"{self.count} processes cannot share {num_classes} classes; "
                f"start at most {num_classes}"
            )
        smallest, longer = divmod(num_classes, self.count)  # the first `longer` have one more
        start = self.index * smallest + min(self.index, longer)
        return range(start, start + smallest + (self.index < longer))


def shard_rows(loss: MarginLoss, num_classes: int, shard: Shard | None, name: str) -> list[range]:
    """Return each shard's rows of a head's array called `name`; empty if it is not sharded.

    >>> from marginface import losses
    >>> shard_rows(losses.get("arcface"), 5, Shard(0, 2), "momentum.weight")
    [range(0, 3), range(3, 5)]
    """
    last = name.rpartition(".")[2]
    bias = loss.initial_bias(num_classes)
    one_bias = last == "bias" and bias is not None and len(bias) == 1
    if shard is None or name.startswith("state.") or one_bias:
        return []
    centers = loss.num_centers if last == "weight" else 1
    parts = [Shard(index, shard.count).classes(num_classes) for index in range(shard.count)]
    return [range(part.start * centers, part.stop * centers) for part in parts]


def whole_shape(shape: Sequence[int], rows: list[range]) -> tuple[int, ...]:
    """Return the shape for all classes, from that of one shard and the rows of `shard_rows`."""
    return (rows[-1].stop, *shape[1:]) if rows else tuple(shape)


def own_rows(
    arrays: Mapping[str, ArraySource],
    name: str,
    shape: Sequence[int],
    rows: list[range],
    shard: Shard | None,
) -> NDArray[Any]:
    """Return this process's rows of an array of all classes.

    Args:
        arrays: of all classes, by name.
        name: of the array.
        shape: of this process's part.
        rows: from `shard_rows`.
        shard: this process's.

    Raises:
        MarginfaceError: the array is missing, or is another head's.
    """
    whole = whole_shape(shape, rows)
    given = np.shape(arrays[name]) if name in arrays else None
    if given != whole:
        said = "nothing" if given is None else f"shape {list(given)}"
        raise MarginfaceError(
            f"this head's {name} has shape {list(whole)}, got {said}; use arrays of a head "
            "with the same loss and sizes"
        )
    own = rows[shard.index] if rows and shard else None
    return np.asarray(arrays[name]) if own is None else arrays[name][own.start : own.stop]


def own_draw(
    draw: Mapping[str, NDArray[Any]], loss: MarginLoss, shard: Shard | None
) -> dict[str, NDArray[Any]]:
    """Return one process's part of a draw: its own samples' values, and all sampled classes."""
    if shard is None:
        return dict(draw)
    own_values = {}
    for name, value in draw.items():
        share = len(value) // shard.count
        own = slice(shard.index * share, (shard.index + 1) * share)
        own_values[name] = value[own] if name in loss.draws else value
    return own_values
