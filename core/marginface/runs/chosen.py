"""The checkpoint of a run that a user asks for: the best, the last, or that of a step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from marginface.errors import MarginfaceError
from marginface.runs.best import Best, best_of
from marginface.runs.checkpoints import folder_name, list_checkpoints, read_record
from marginface.runs.newest import find_newest, read_newest
from marginface.runs.stored_arrays import DamagedCheckpointError

Contents = TypeVar("Contents")


def check_choice(checkpoint: Any) -> str | int | None:
    """Return a choice as `read_chosen` takes it; None for none.

    >>> check_choice("best"), check_choice("200"), check_choice(None)
    ('best', 200, None)
    """
    if isinstance(checkpoint, str) and checkpoint.isdecimal() and len(checkpoint) < 19:
        return int(checkpoint)
    step = isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint >= 0
    if step or checkpoint in (None, "best", "last"):
        return checkpoint  # type: ignore[no-any-return]
    raise MarginfaceError(
        f"checkpoint must be best, last or the number of a step, got {checkpoint!r}"
    )


def read_chosen(
    folder: Path, checkpoint: str | int | None, read: Callable[[Path], Contents]
) -> Contents | None:
    """Read the chosen checkpoint of a run; None if the run has none at all.

    Args:
        folder: of the run's checkpoints.
        checkpoint: a step, whose checkpoint is read or refused; "best", for which the newest that
            is whole stands in, with a warning, where it is damaged; None or "last" for the newest.
        read: reads one, and raises DamagedCheckpointError for what it needs of it.

    Raises:
        MarginfaceError: there is no such checkpoint, or none that is whole.
    """
    checkpoint = check_choice(checkpoint)
    steps = [read_step(path) for path in list_checkpoints(folder)]
    if not steps or checkpoint in (None, "last"):
        return read_newest(folder, read)
    if isinstance(checkpoint, int):
        if checkpoint not in steps:
            raise MarginfaceError(
                f"run {folder.parent} has no checkpoint of step {checkpoint}; expected one of "
                f"{', '.join(map(str, steps))}, last or best"
            )
        return read(folder / folder_name(checkpoint))
    best = find_best(folder)
    if best is None:
        raise MarginfaceError(
            f"run {folder.parent} has kept no best checkpoint; give last or a step "
            f"({', '.join(map(str, steps))}), and train with --keep-best accuracy to have one"
        )
    try:
        return read(folder / folder_name(best.step))
    except DamagedCheckpointError as error:
        newest = read_newest(folder, lambda path: (path.name, read(path)))
        if newest is None:
            raise
        name, contents = newest
        warnings.warn(f"{error.found}, the best: took {name} in its place", stacklevel=3)
        return contents


def find_best(folder: Path) -> Best | None:
    """Return which checkpoint is the best, as the newest that can be read records it."""
    newest = find_newest(folder, read_record)
    return None if newest is None else best_of(newest.contents)


def read_step(path: Path) -> int:
    """Return the step of a checkpoint by its name."""
    return int(path.name.removeprefix("step-"))
