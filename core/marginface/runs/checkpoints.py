"""Checkpoints that either framework reads: safetensors for arrays, JSON for the rest.

`checkpoints/step-00000100/` holds `state.safetensors` (the learner's arrays under canonical names)
and `state.json` (step, input pipeline, best accuracy). Where several processes wrote it, rows of
the head are in a file for each of them, `head-0-of-2.safetensors` and so on, which `state.json`
lists. It appears by one rename, so a folder of that name is whole.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marginface.arrays import ArraySource
from marginface.errors import MarginfaceError
from marginface.runs.stored_arrays import (
    DamagedCheckpointError,
    StoredArrays,
    StoredFile,
    damaged,
    require_file,
)

FORMAT, SHARDED = 1, 2  # earlier versions read only the first
ARRAYS = "state.safetensors"
REST = "state.json"
FOLDER = re.compile(r"step-\d{8,}")

Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Format(BaseModel):
    model_config = ConfigDict(strict=True)

    format: Count


class Shard(BaseModel):
    """One process's file, and the rows (first, end) that it holds of each array."""

    model_config = ConfigDict(strict=True)

    file: str
    crc32: Count
    rows: dict[str, tuple[Count, Count]]


class Record(BaseModel):
    """The contents of `state.json`; who writes `extra` checks it."""

    model_config = ConfigDict(strict=True)

    format: Count
    step: Count
    crc32: Count
    shards: list[Shard] = []
    extra: dict[str, Any]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """Refuse all but one file of each process, with rows of the same arrays."""
        size = len(self.shards)
        if [shard.file for shard in self.shards] != [
            shard_file(rank, size) for rank in range(size)
        ]:
            raise ValueError("files")  # a name could lead anywhere
        if (self.format == SHARDED) != bool(size):
            raise ValueError("format")
        for shard in self.shards:
            if shard.rows.keys() != self.shards[0].rows.keys():
                raise ValueError("names")
            if any(first > end for first, end in shard.rows.values()):
                raise ValueError("rows")
        return self


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint.

    Args:
        step: steps taken.
        state: the learner's arrays, under canonical names.
        extra: plain values: input pipeline, best accuracy and the like.
    """

    step: int
    state: Mapping[str, ArraySource]
    extra: dict[str, Any]


def list_checkpoints(folder: Path) -> list[Path]:
    """List the whole checkpoints in `folder`, oldest first; unfinished ones have other names."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if FOLDER.fullmatch(path.name)),
        key=lambda path: int(path.name.removeprefix("step-")),
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder`, or None."""
    checkpoints = list_checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, so that it is none and the newest that are kept are whole."""
    target = aside(path)
    remove(target)
    path.rename(target)


def remove(path: Path) -> None:
    """Remove a checkpoint, or what stands in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def aside(path: Path) -> Path:
    """Return the name that `set_aside` gives.

    >>> print(aside(Path("step-00000100")))
    damaged-step-00000100
    """
    return path.with_name(f"damaged-{path.name}")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint, whose arrays are read, and their files checked, when they are asked for.

    The file that all processes share is checked at once.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    record, state = _stored(path)
    return Checkpoint(record.step, state, record.extra)


def check_checkpoint(path: Path) -> None:
    """Raise unless every file of a checkpoint is what was written.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    _, state = _stored(path)
    for array in state.values():
        array.check(slice(None))


def _stored(path: Path) -> tuple[Record, StoredArrays]:
    record = read_record(path)
    common = StoredFile(path / ARRAYS, record.crc32)
    common.check()
    shards = [
        (
            StoredFile(path / each.file, each.crc32),
            {n: range(*rows) for n, rows in each.rows.items()},
        )
        for each in record.shards
    ]
    return record, StoredArrays(common, shards)


def load_checkpoint(path: Path, prefix: str = "") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the checkpoint's folder.
        prefix: of the names to read; the others stay on the disk.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    stored = open_checkpoint(path)
    # No file of other arrays is opened.
    names = [name for name in stored.state if name.startswith(prefix)]
    state = {name: np.asarray(stored.state[name]) for name in names}
    return Checkpoint(stored.step, state, stored.extra)


def read_record(path: Path) -> Record:
    """Read a checkpoint's step, files and plain values (`extra`), and no array.

    Raises:
        MarginfaceError: they are missing or changed.
    """
    require_file(path / REST)
    try:
        text = (path / REST).read_bytes()
        written_as = _Format.model_validate_json(text).format
        if written_as not in (FORMAT, SHARDED):
            raise MarginfaceError(
                f"checkpoint {path} has format {written_as}, this version reads {FORMAT} "
                f"and {SHARDED}; use the version of marginface that wrote it"
            )
        record = Record.model_validate_json(text)
    except OSError as error:
        raise damaged(path, f"{Path(error.filename or path).name}: {error.strerror}") from None
    except ValidationError:
        raise damaged_record(path) from None
    if FOLDER.fullmatch(path.name) and path.name != folder_name(record.step):
        raise damaged(path, f"{REST} is of step {record.step}")
    return record


def damaged_record(path: Path) -> DamagedCheckpointError:
    """Make the error of a checkpoint whose plain values are not what a run writes."""
    return damaged(path, f"{REST} is not what was written")


def folder_name(step: int) -> str:
    """Name the folder of a checkpoint.

    >>> folder_name(100)
    'step-00000100'
    """
    return f"step-{step:08d}"


def shard_file(rank: int, size: int) -> str:
    """Name the file of one process's rows.

    >>> shard_file(0, 2)
    'head-0-of-2.safetensors'
    """
    return f"head-{rank}-of-{size}.safetensors"
