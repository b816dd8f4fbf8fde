"""Checkpoints that either framework reads: safetensors for arrays, JSON for the rest.

`checkpoints/step-00000100/` holds `state.safetensors` (the learner's arrays under canonical names)
and `state.json` (step, input pipeline, best accuracy). Where several processes wrote it, rows of
the head are in a file for each of them, `head-0-of-2.safetensors` and so on, which `state.json`
lists. It appears by one rename, so a folder of that name is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marginface.arrays import ArraySource
from marginface.errors import MarginfaceError
from marginface.runs.stored_arrays import StoredArrays, StoredFile, damaged
from marginface.text import shown

FORMAT, SHARDED = 1, 2  # earlier versions read the first alone
ARRAYS = "state.safetensors"
REST = "state.json"
SHARD = re.compile(r"head-\d+-of-\d+\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

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
        (path for path in folder.iterdir() if re.fullmatch(r"step-\d{8,}", path.name)),
        key=lambda path: int(path.name.removeprefix("step-")),
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder`, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint, whose arrays are read, and their files checked, when they are asked for.

    What all processes have alike is checked at once.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    record = read_record(path)
    common = StoredFile(path / ARRAYS, record["crc32"])
    common.check()
    shards = [
        (StoredFile(path / each["file"], each["crc32"]), each["rows"]) for each in record["shards"]
    ]
    return Checkpoint(record["step"], StoredArrays(common, shards), record["extra"])


def load_checkpoint(path: Path, prefix: str = "") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the checkpoint's folder.
        prefix: of the names to read; the others stay on the disk.

    Raises:
        MarginfaceError: a file is missing, cut short or changed.
    """
    found = open_checkpoint(path)
    state = {name: np.asarray(a) for name, a in found.state.items() if name.startswith(prefix)}
    return Checkpoint(found.step, state, found.extra)


def read_record(path: Path) -> dict[str, Any]:
    """Read a checkpoint's step, files and plain values (`extra`), and no array.

    Raises:
        MarginfaceError: they are missing or changed.
    """
    try:
        record = json.loads((path / REST).read_text(encoding="utf-8"))
        if record["format"] not in (FORMAT, SHARDED):
            raise MarginfaceError(
                f"checkpoint {path} has format {shown(record['format'])}, this version reads "
                f"{FORMAT} and {SHARDED}; use the version of marginface that wrote it"
            )
        return {
            "step": int(record["step"]),
            "crc32": record["crc32"],
            "shards": [_shard(each) for each in record.get("shards", ())],
            "extra": dict(record["extra"]),
        }
    except OSError as error:
        raise damaged(path, f"{Path(error.filename or path).name}: {error.strerror}") from None
    except MarginfaceError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(path, f"{REST} is not what was written") from None


def _shard(record: dict[str, Any]) -> dict[str, Any]:
    """Check what is recorded of one process's file; its name could lead anywhere."""
    if not SHARD.fullmatch(record["file"]):
        raise ValueError(record["file"])
    rows = {name: range(int(first), int(end)) for name, (first, end) in record["rows"].items()}
    if any(not 0 <= each.start <= each.stop < 2**63 for each in rows.values()):
        raise ValueError(rows)
    return {"file": record["file"], "crc32": record["crc32"], "rows": rows}
