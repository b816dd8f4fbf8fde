"""Weights under canonical names: how they start, how files are read, how they are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.arrays import save_file
from marginface.atomic import replacing
from marginface.backbones.graph import Graph
from marginface.errors import BackendNotInstalledError, MarginfaceError

Arrays = dict[str, NDArray[Any]]
PICKLED = {".pt", ".pth", ".ckpt"}
WRAPPERS = ("state_dict_backbone", "net_state_dict", "state_dict", "model")  # seen around weights


def initial_weights(graph: Graph, seed: int) -> Arrays:
    """Draw a backbone's float32 weights; the same seed gives every framework the same ones.

    >>> from marginface.backbones import describe
    >>> initial_weights(describe("mbf"), seed=0)["layers.0.layers.0.weight"].shape
    (128, 3, 3, 3)
    """
    rng = np.random.default_rng(seed)
    return {
        name: parameter.draw(rng).astype(np.float32)
        for name, parameter in graph.parameters().items()
    }


def check_weights(
    graph: Graph, weights: Mapping[str, NDArray[Any]], source: str = "weights"
) -> Arrays:
    """Return `weights` in the graph's order; names and shapes must be the graph's.

    What PyTorch adds is dropped: counters, and the prefixes of its wrappers (DataParallel and
    AveragedModel write `module.`, torch.compile `_orig_mod.`, both when one holds the other).

    Raises:
        MarginfaceError: naming the parameter and both shapes, or what is missing or left over.
    """
    found = {
        re.sub(r"^((module|_orig_mod)\.)+", "", name): array
        for name, array in weights.items()
        if not name.endswith(("num_batches_tracked", "n_averaged"))
    }
    expected = graph.parameters()
    label = f"{source} does not fit backbone '{graph.name}'"
    missing = [name for name in expected if name not in found]
    if missing:
        raise MarginfaceError(
            f"{label}: {len(missing)} of {len(expected)} parameters are missing, the first is "
            f"'{missing[0]}'; is it another backbone?"
        )
    left = [name for name in found if name not in expected]
    if left:
        raise MarginfaceError(
            f"{label}: {len(left)} parameters are not the backbone's, the first is '{left[0]}'"
        )
    for name, parameter in expected.items():
        if tuple(found[name].shape) != parameter.shape:
            raise MarginfaceError(
                f"{label}: parameter '{name}' has shape {tuple(found[name].shape)}, expected "
                f"{parameter.shape}; check --embedding-size and the input size"
            )
    return {name: np.asarray(found[name]) for name in expected}


def read_weights(path: str | Path) -> Arrays:
    """Read a backbone's arrays from .safetensors, or from a PyTorch .pt, .pth or .ckpt.

    PyTorch files are read with `weights_only=True`, which runs no code from the file.
    """
    path = Path(path)
    if not path.is_file():
        raise MarginfaceError(
            f"no weights at {path}; expected a .safetensors, .pt, .pth or .ckpt file"
        )
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
        except (SafetensorError, ValueError) as error:
            raise MarginfaceError(f"{path} is not a whole safetensors file: {error}") from error
        # bfloat16, which NumPy lacks, arrives as a type of its own (kind "V").
        return {
            name: array.astype(np.float32) if array.dtype.kind == "V" else array
            for name, array in arrays.items()
        }
    if path.suffix in PICKLED:
        return _read_pickled(path)
    raise MarginfaceError(
        f"{path} has suffix '{path.suffix}'; expected .safetensors, .pt, .pth or .ckpt"
    )


def _read_pickled(path: Path) -> Arrays:
    from marginface.backend import load_backend

    try:
        # Only PyTorch reads its own pickles, so the seam that every backend shares lacks the name.
        values = load_backend("torch").read_state_dict(path)  # type: ignore[attr-defined]
    except BackendNotInstalledError as error:
        raise BackendNotInstalledError(
            f"{path} is a PyTorch file and PyTorch is not installed; run: "
            "pip install 'marginface[torch]', or convert it to .safetensors where PyTorch is"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(values.get(wrapper), dict):
            values = values[wrapper]
            break
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise MarginfaceError(f"{path} holds no arrays; expected a backbone's state_dict")
    return arrays


def write_weights(path: str | Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a safetensors file, under its final name only when whole."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise MarginfaceError(f"weights are written as .safetensors, got '{path.name}'")
    if not path.parent.is_dir():
        raise MarginfaceError(f"folder {path.parent} does not exist; create it first")
    with replacing(path) as part:
        save_file(weights, part)
