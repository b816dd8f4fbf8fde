"""A run, one of its checkpoints or the checkpoint's arrays, as a backbone's weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from marginface.backbones.weights import WEIGHTS, Arrays
from marginface.errors import MarginfaceError
from marginface.runs.checkpoints import (
    ARRAYS,
    REST,
    list_checkpoints,
    load_checkpoint,
    open_checkpoint,
)
from marginface.runs.folder import RunFolder, no_checkpoint
from marginface.runs.newest import read_newest

PREFIX = "backbone."


def _is_run(path: Path) -> bool:
    run = RunFolder(path)
    return run.model.is_file() or run.checkpoints.is_dir() or bool(list_checkpoints(path))


def _read_run(path: Path) -> Arrays:
    checkpoints = RunFolder(path).checkpoints
    arrays = read_newest(checkpoints if checkpoints.is_dir() else path, _read_checkpoint)
    if arrays is None:
        raise no_checkpoint(path)
    return arrays


def _is_checkpoint(path: Path) -> bool:
    folder = path.parent if path.name == ARRAYS else path
    return (folder / REST).is_file() and (folder / ARRAYS).is_file()


def _read_checkpoint(path: Path) -> Arrays:
    folder = path.parent if path.name == ARRAYS else path
    everything = set(open_checkpoint(folder).state)
    state = load_checkpoint(folder, prefix=PREFIX).state
    if not state:
        raise MarginfaceError(f"checkpoint {folder} holds no backbone")
    rooms = sorted({name.partition(".")[0] for name in everything - set(state)})
    if rooms:
        warnings.warn(
            f"{folder}: took the {len(state)} arrays of the backbone; left "
            f"{len(everything) - len(state)} of {' and '.join(rooms)}",
            stacklevel=3,
        )
    return {name.removeprefix(PREFIX): np.asarray(value) for name, value in state.items()}


WEIGHTS.register("a run folder", _read_run, recognises=_is_run)
WEIGHTS.register("one of its checkpoints", _read_checkpoint, recognises=_is_checkpoint)
