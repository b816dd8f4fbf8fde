"""Writing a checkpoint, by one process or by several together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from marginface.arrays import ArraySpec, write_arrays
from marginface.atomic import replacing
from marginface.errors import MarginfaceError
from marginface.runs.checkpoints import (
    FORMAT,
    REST,
    SHARDED,
    folder_name,
    list_checkpoints,
    read_record,
    remove,
)


class CheckpointWriter:
    """An unfinished checkpoint: a folder of another name until all of it is on the disk.

    One process begins and finishes it; between, each writes its file.

    Args:
        folder: of the run's checkpoints.
        step: steps taken.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self.path = folder / folder_name(step)
        self._partial = folder / f".{self.path.name}.partial"

    def begin(self) -> None:
        """Create the folder, and remove what unfinished checkpoints left behind."""
        with self._named():
            for rest in self.folder.glob(".step-*.partial"):
                shutil.rmtree(rest, ignore_errors=True)
            self._partial.mkdir(parents=True)

    def write(
        self,
        name: str,
        specs: Mapping[str, ArraySpec],
        arrays: Iterable[tuple[str, NDArray[Any]]],
    ) -> int:
        """Write a file of arrays and force it onto the disk; return its CRC-32.

        Args:
            name: of the file.
            specs: of its arrays, in their order.
            arrays: the same, one at a time.
        """
        with self._named():
            crc32 = write_arrays(self._partial / name, specs, arrays)
            _sync(self._partial / name)
        return crc32

    def finish(
        self,
        crc32: int,
        shards: list[dict[str, Any]],
        extra: dict[str, Any],
        *,
        keep: int,
        best: int | None = None,
    ) -> None:
        """Give the checkpoint its name, and delete all but the newest `keep` and the best.

        Everything is on the disk before the checkpoint gets its name, and before an older one goes.

        Args:
            crc32: of the file of the arrays that all processes share.
            shards: file, crc32 and rows of each process's own part.
            extra: plain values.
            keep: how many stay.
            best: step of one more that stays.
        """
        record = {
            "format": SHARDED if shards else FORMAT,
            "step": self.step,
            "crc32": crc32,
            **({"shards": shards} if shards else {}),
            "extra": extra,
        }
        with self._named():
            (self._partial / REST).write_text(json.dumps(record, indent=1), encoding="utf-8")
            _sync(self._partial / REST)
            _sync(self._partial)
            shutil.rmtree(self.path, ignore_errors=True)
            self._partial.rename(self.path)
            _sync(self.folder)
        for old in list_checkpoints(self.folder)[:-keep]:
            if best is None or old.name != folder_name(best):
                remove(old)

    def discard(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._partial, ignore_errors=True)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn the system's errors into one that names the checkpoint."""
        try:
            yield
        except OSError as error:
            way_out = "make room or mend the folder, then give the same command again"
            if list_checkpoints(self.folder):
                way_out = "older ones are untouched: make room or mend the folder, then --resume"
            raise MarginfaceError(
                f"cannot write checkpoint {self.path}: {error}; {way_out}"
            ) from error


def record_again(path: Path, extra: dict[str, Any]) -> None:
    """Replace the plain values of a checkpoint, whose arrays stay."""
    record = read_record(path).model_dump(exclude_defaults=True) | {"extra": extra}
    with replacing(path / REST) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file or folder onto the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
