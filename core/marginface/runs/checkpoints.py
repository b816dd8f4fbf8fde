"""Checkpoints that either framework reads: safetensors for arrays, JSON for the rest.

`checkpoints/step-00000100/` holds `state.safetensors` (the learner's state under canonical names)
and `state.json` (step, input pipeline, best accuracy). It appears by one rename, so a folder of
that name is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from marginface.arrays import save_file
from marginface.errors import MarginfaceError

Arrays = Mapping[str, NDArray[Any]]

FORMAT = 1
ARRAYS = "state.safetensors"
REST = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Args:
        step: steps taken.
        state: the learner's, under canonical names.
        extra: plain values: input pipeline, best accuracy and the like.
    """

    step: int
    state: dict[str, NDArray[Any]]
    extra: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 3) -> Path:
    """Write a checkpoint into `folder`, delete all but the newest `keep`, return its path.

    Everything is on the disk before the checkpoint gets its name, and before an older one goes.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(partial, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise MarginfaceError(
            f"cannot write checkpoint {final}: {error}; older ones are untouched: make room or "
            "mend the folder, then --resume"
        ) from error
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(checkpoint.state, folder / ARRAYS)
    record = {
        "format": FORMAT,
        "step": checkpoint.step,
        "crc32": _crc32(folder / ARRAYS),
        "extra": checkpoint.extra,
    }
    (folder / REST).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for path in (folder / ARRAYS, folder / REST, folder):
        _sync(path)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in `folder`, oldest first; unfinished ones have other names."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if re.fullmatch(r"step-\d{8,}", path.name)),
        key=lambda path: int(path.name.removeprefix("step-")),
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder`, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path, prefix: str = "") -> Checkpoint:
    """Read a checkpoint, checking that it is undamaged.

    Args:
        path: the checkpoint's folder.
        prefix: of the names to read; the others stay on the disk.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    record = read_record(path)
    try:
        if _crc32(path / ARRAYS) != record["crc32"]:
            raise _damaged(path, f"{ARRAYS} is cut short or changed")
        with safe_open(path / ARRAYS, framework="numpy") as file:
            # safetensors' file has keys() but cannot be iterated.
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in names}
        return Checkpoint(record["step"], state, record["extra"])
    except OSError as error:
        raise _damaged(path, f"{Path(error.filename or path).name}: {error.strerror}") from None
    except SafetensorError as error:
        raise _damaged(path, f"{ARRAYS}: {error}") from None


def read_record(path: Path) -> dict[str, Any]:
    """Return a checkpoint's step, CRC-32 and plain values (`extra`), reading no array.

    Raises:
        MarginfaceError: they are missing or changed.
    """
    try:
        record = json.loads((path / REST).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise MarginfaceError(
                f"checkpoint {path} has format {record['format']}, this version reads {FORMAT}; "
                "use the version of marginface that wrote it"
            )
        return {
            "step": int(record["step"]),
            "crc32": record["crc32"],
            "extra": dict(record["extra"]),
        }
    except OSError as error:
        raise _damaged(path, f"{Path(error.filename or path).name}: {error.strerror}") from None
    except MarginfaceError:
        raise
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, f"{REST} is not what was written") from None


def head_name(name: str) -> str:
    """Return the canonical name of what a head's `arrays` calls `name`; slots are the optimizer's.

    >>> [head_name(name) for name in ("weight", "state.mean", "momentum.weight")]
    ['head.weight', 'head.state.mean', 'optimizer.momentum.head.weight']
    """
    first, _, rest = name.partition(".")
    return f"head.{name}" if not rest or first == "state" else f"optimizer.{first}.head.{rest}"


def check_fits(state: Arrays, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raise if `state` has not exactly these names and shapes.

    Args:
        state: arrays that were read.
        shapes: those of the model that was configured.
        source: what `state` comes from, for the message.
    """
    for name, wanted in shapes.items():
        if name not in state:
            raise MarginfaceError(
                f"{source} has no parameter {name}, shape {list(wanted)}; "
                "use the backbone, loss and optimizer that it was made with"
            )
        if np.shape(state[name]) != wanted:
            raise MarginfaceError(
                f"parameter {name} has shape {list(np.shape(state[name]))} in {source}, but "
                f"{list(wanted)} in the model; use the backbone, embedding size and "
                "identities that it was made with"
            )
    extra = sorted(set(state) - set(shapes))
    if extra:
        raise MarginfaceError(
            f"{source} has {len(extra)} parameters that the model lacks, such as {extra[0]}, "
            f"shape {list(np.shape(state[extra[0]]))}; use the backbone that it was made with"
        )


def _sync(path: Path) -> None:
    """Force a file or folder onto the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _damaged(path: Path, reason: str) -> MarginfaceError:
    return MarginfaceError(
        f"checkpoint {path} is damaged ({reason}); delete that folder to use the one before it"
    )
