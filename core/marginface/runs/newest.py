"""The newest checkpoint of a run that is whole: what is read where a run is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Generic, TypeVar

from marginface.runs.checkpoints import list_checkpoints
from marginface.runs.stored_arrays import DamagedCheckpointError

Contents = TypeVar("Contents")


@dataclass(frozen=True)
class Newest(Generic[Contents]):
    """The newest whole checkpoint.

    Args:
        path: of the checkpoint.
        contents: as they were read.
        damaged: the newer ones, newest first, and what is wrong with each.
    """

    path: Path
    contents: Contents
    damaged: dict[Path, DamagedCheckpointError]


def find_newest(folder: Path, read: Callable[[Path], Contents]) -> Newest[Contents] | None:
    """Read the newest checkpoint in `folder` that is whole; None without any checkpoint.

    Args:
        folder: of the run's checkpoints.
        read: reads one, and raises DamagedCheckpointError for what it needs of it.

    Raises:
        MarginfaceError: all are damaged, or one is of another version.
    """
    damaged: dict[Path, DamagedCheckpointError] = {}
    for path in reversed(list_checkpoints(folder)):
        try:
            return Newest(path, read(path), damaged)
        except DamagedCheckpointError as error:
            damaged[path] = error
    if damaged:
        raise _none_whole(folder, damaged)
    return None


def read_newest(folder: Path, read: Callable[[Path], Contents]) -> Contents | None:
    """Return the contents that `find_newest` finds; a warning names what is damaged."""
    found = find_newest(folder, read)
    if found is None:
        return None
    for error in found.damaged.values():
        warnings.warn(
            f"{error.found}: took {found.path.name}, the newest that is whole", stacklevel=3
        )
    return found.contents


def _none_whole(
    folder: Path, damaged: dict[Path, DamagedCheckpointError]
) -> DamagedCheckpointError:
    error, *others = damaged.values()
    older = f", and so are the {len(others)} before it" if others else ", and there is no other"
    return DamagedCheckpointError(
        f"{error.found}{older}; restore one from a copy, or train again: `marginface train "
        f"--config {quote(str(folder.parent / 'config.yaml'))} --output NEW`",
        found=error.found,
    )
