"""The factor on the loss of a network in float16, whose small gradients would be zero otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.errors import MarginfaceError

SCALE = "optimizer.loss_scale"  # the array that holds it: the factor, and the steps it has stood
FIRST = 2.0**16
PATIENCE = 2000  # good steps before it is doubled
LARGEST = 2.0**24  # float16 ends at 2^16: nothing is gained above


@dataclass(frozen=True)
class LossScale:
    """Dynamic loss scaling: half after an overflow, whose step is left out; double after many.

    Args:
        factor: what the loss is multiplied by, and gradients are divided by.
        steps: good steps since it changed.

    >>> LossScale(8.0, 5).after(finite=False), LossScale(8.0, 1999).after(finite=True)
    (LossScale(factor=4.0, steps=0), LossScale(factor=16.0, steps=0))
    """

    factor: float = FIRST
    steps: int = 0

    def after(self, *, finite: bool) -> LossScale:
        """Return the scale after a step whose gradients were finite, or not."""
        if not finite:
            return LossScale(self.factor / 2)
        if self.steps + 1 < PATIENCE or self.factor >= LARGEST:
            return LossScale(self.factor, min(self.steps + 1, PATIENCE))
        return LossScale(self.factor * 2)

    def to_array(self) -> NDArray[np.float64]:
        """Return it as it is saved."""
        return np.array([self.factor, self.steps], np.float64)

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> LossScale:
        """Return what `to_array` saved.

        Raises:
            MarginfaceError: it is no factor above 0 with a number of steps.

        >>> LossScale.from_array(np.array([0.0, 3.0]))
        Traceback (most recent call last):
        marginface.errors.MarginfaceError: optimizer.loss_scale is [0.0, 3.0], expected a factor \
above 0 and the steps since it changed; use the checkpoint before it
        """
        factor, steps = np.asarray(array).tolist()
        if not (0 < factor < np.inf and 0 <= steps <= PATIENCE):
            raise MarginfaceError(
                f"{SCALE} is {[factor, steps]}, expected a factor above 0 and the steps since it "
                "changed; use the checkpoint before it"
            )
        return cls(factor, int(steps))
