"""Which classes each process of a class-parallel head owns."""

from __future__ import annotations

from dataclasses import dataclass

from marginface.errors import MarginfaceError


@dataclass(frozen=True)
class Shard:
    """One process's part of the classes: a range, and the first ranges may be one longer.

    Args:
        index: the process's number, from 0.
        count: how many processes share the classes.

    Raises:
        MarginfaceError: an index that is none of the count's.

    >>> [Shard(i, 3).classes(10) for i in range(3)]
    [range(0, 4), range(4, 7), range(7, 10)]
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
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
        each, more = divmod(num_classes, self.count)
        start = self.index * each + min(self.index, more)
        return range(start, start + each + (self.index < more))
