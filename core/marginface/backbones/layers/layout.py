"""A framework's layout of a canonical array: a reshape, a permutation, a reshape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Layout(NamedTuple):
    """`canonical.reshape(view).transpose(order).reshape(shape)` is the framework's array."""

    canonical: tuple[int, ...]
    view: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def permuted(cls, canonical: Sequence[int], order: Sequence[int]) -> Layout:
        """Return the layout of an array whose axes come in another order.

        >>> Layout.permuted((2, 3), (1, 0)).shape
        (3, 2)
        """
        shape = tuple(canonical[axis] for axis in order)
        return cls(tuple(canonical), tuple(canonical), tuple(order), shape)

    def to_framework(self, array: NDArray[Any]) -> NDArray[Any]:
        """Convert a canonical array into the framework's layout."""
        return np.ascontiguousarray(
            array.reshape(self.view).transpose(self.order).reshape(self.shape)
        )

    def to_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """Convert a framework's array into the canonical layout."""
        turned = array.reshape([self.view[axis] for axis in self.order])
        back = turned.transpose(np.argsort(self.order)).reshape(self.canonical)
        return np.ascontiguousarray(back)
