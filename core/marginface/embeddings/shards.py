"""Shares of a list, so that many machines do one work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from marginface.errors import MarginfaceError

T = TypeVar("T")
Shard = tuple[int, int]  # the third of sixteen is (3, 16)


def read_shard(value: object) -> Shard | None:
    """Return a share from a text as "3/16", or from two whole numbers; None for None.

    >>> read_shard("3/16")
    (3, 16)
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", value) if isinstance(value, str) else None
    numbers = tuple(map(int, found.groups())) if found else value
    match numbers:
        case (int(number), int(count)) if 1 <= number <= count:
            return number, count
    raise MarginfaceError(
        f"shard must be such as 3/16, the third of sixteen, from 1/16 to 16/16, got {value!r}"
    )


def part_of(items: Sequence[T], shard: Shard | None) -> list[T]:
    """Return a share of a list; the shares of all numbers, one after the other, are the list.

    Raises:
        MarginfaceError: there is nothing in it.

    >>> [part_of("abcde", (number, 2)) for number in (1, 2)]
    [['a', 'b'], ['c', 'd', 'e']]
    """
    number, count = shard or (1, 1)
    share = list(items[len(items) * (number - 1) // count : len(items) * number // count])
    if not share:
        raise MarginfaceError(
            f"shard {number}/{count} of {len(items):,} images is empty; share the work by fewer"
        )
    return share
