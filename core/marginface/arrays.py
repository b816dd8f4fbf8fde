"""Named arrays in safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray


def save_file(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays to a safetensors file whose permissions follow the umask, as other files' do."""
    path.touch()
    mode = path.stat().st_mode  # safetensors puts a file of its own there, for the owner alone
    # order="C" because safetensors writes the buffer as it lies.
    safetensors.numpy.save_file({n: np.asarray(a, order="C") for n, a in arrays.items()}, path)
    path.chmod(mode & 0o777)
