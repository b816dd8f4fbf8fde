"""A run, one of its checkpoints or a model folder, as a backbone's weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from marginface.backbones.naming import with_epsilon
from marginface.backbones.weights import WEIGHTS, Arrays, UsualEpsilon
from marginface.cards import is_model_folder, read_model_folder
from marginface.errors import MarginfaceError
from marginface.formats import is_onnx
from marginface.model import ModelSpec
from marginface.runs.checkpoints import (
    ARRAYS,
    REST,
    Checkpoint,
    list_checkpoints,
    open_checkpoint,
)
from marginface.runs.folder import RunFolder, no_checkpoint
from marginface.runs.newest import read_newest

PREFIX = "backbone."


def _is_run(path: Path) -> bool:
    run = RunFolder(path)
    return run.model.is_file() or run.checkpoints.is_dir() or bool(list_checkpoints(path))


def _is_checkpoint(path: Path) -> bool:
    folder = path.parent if path.name == ARRAYS else path
    return (folder / REST).is_file() and (folder / ARRAYS).is_file()


@dataclass(frozen=True)
class Trained:
    """A checkpoint to start from.

    Args:
        run: the run's folder, if the checkpoint lies in one.
        checkpoint: whose arrays are read when they are asked for.
    """

    run: RunFolder | None
    checkpoint: Checkpoint

    def backbone(self) -> Arrays:
        """Read the backbone's arrays."""
        names = [name for name in self.checkpoint.state if name.startswith(PREFIX)]
        if not names:
            raise MarginfaceError(f"checkpoint of step {self.checkpoint.step} holds no backbone")
        return {n.removeprefix(PREFIX): np.asarray(self.checkpoint.state[n]) for n in names}


def open_trained(path: Path) -> Trained | None:
    """Open a run's newest whole checkpoint, or the one that is named; None for another format.

    Raises:
        MarginfaceError: it is damaged, or the run has none yet.
    """
    if _is_run(path):
        folder = RunFolder(path).checkpoints
        opened = read_newest(folder if folder.is_dir() else path, open_checkpoint)
        if opened is None:
            raise no_checkpoint(path)
        run = RunFolder(path if folder.is_dir() else path.parent)
    elif _is_checkpoint(path):
        folder = path.parent if path.name == ARRAYS else path
        opened, run = open_checkpoint(folder), RunFolder(folder.absolute().parents[1])
    else:
        return None
    return Trained(run if run.identities.is_file() else None, opened)


def _read_trained(path: Path) -> Arrays:
    trained = open_trained(path)
    assert trained is not None  # it was recognised
    arrays, state = trained.backbone(), trained.checkpoint.state
    rooms = sorted({name.partition(".")[0] for name in state if not name.startswith(PREFIX)})
    if rooms:
        warnings.warn(
            f"{path}: took the {len(arrays)} arrays of the backbone; left "
            f"{len(state) - len(arrays)} of {' and '.join(rooms)}",
            stacklevel=3,
        )
    return arrays


def in_own_epsilon(spec: ModelSpec, weights: Arrays) -> Arrays:
    """Return a model's weights for its network with the usual BatchNorm epsilon."""
    if spec.batch_norm_epsilon is not None:
        usual = replace(spec, batch_norm_epsilon=None).graph()
        weights = with_epsilon(weights, spec.graph(), usual)
    return UsualEpsilon(weights)


def _read_onnx(path: Path) -> Arrays:
    from marginface.onnx.training import read_exported

    exported = read_exported(path)
    return in_own_epsilon(exported.spec, exported.weights)


def _read_folder(path: Path) -> Arrays:
    model = read_model_folder(path)
    return in_own_epsilon(model.spec, model.weights)


WEIGHTS.register("an .onnx of marginface export", _read_onnx, ".onnx", recognises=is_onnx)
WEIGHTS.register("a model folder", _read_folder, recognises=is_model_folder)
WEIGHTS.register("a run folder", _read_trained, recognises=_is_run)
WEIGHTS.register("one of its checkpoints", _read_trained, recognises=_is_checkpoint)
