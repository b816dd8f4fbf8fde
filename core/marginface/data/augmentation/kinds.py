"""The types of augmentations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Augmentation = Callable[[Pixels, np.random.Generator], Pixels]
