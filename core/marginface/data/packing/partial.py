"""Unfinished output: it lies under another name, with a journal of the chunks that are done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from marginface.atomic import naming
from marginface.errors import BusyError, MarginfaceError, message_of
from marginface.locking import sole_writer
from marginface.regular import require_regular

JOURNAL, LOCK = "journal.jsonl", "lock"


class Partial:
    """A folder next to a target, `.NAME.partial`, in which the target grows.

    `journal.jsonl` there has a line for the job, then one for each chunk that is done. A line is
    written after its chunk is on disk, so the next run can rely on every line.

    Attributes:
        path: the folder.
        chunks: the journal's entry for each chunk.
    """

    def __init__(self, path: Path, journal: TextIO, job: str) -> None:
        self.path = path
        self._journal = journal
        self._head = {"job": job}
        lines = _whole_lines(journal)
        self.chunks: list[Any] = lines[1:] if lines[:1] == [self._head] else []
        if not self.chunks:
            self._clear()

    def keep(self, count: int) -> None:
        """Forget all chunks but the first `count`."""
        del self.chunks[count:]
        self._journal.seek(0)
        self._journal.truncate()
        self._write([self._head, *self.chunks])

    def append(self, chunk: Mapping[str, Any]) -> None:
        """Note that a chunk is done."""
        self.chunks.append(chunk)
        self._write([chunk])

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in (JOURNAL, LOCK):
                entry.unlink()

    def _write(self, lines: list[Any]) -> None:
        self._journal.writelines(json.dumps(line) + "\n" for line in lines)
        self._journal.flush()
        os.fsync(self._journal.fileno())


def partial_path(target: Path) -> Path:
    """Return the path of a target's partial output.

    >>> partial_path(Path("sets/train.rec")).as_posix()
    'sets/.train.rec.partial'
    """
    return target.with_name(f".{target.name}.partial")


@contextmanager
def partial_output(target: Path, job: str) -> Iterator[Partial]:
    """Open the partial output of a target, emptied if it is another job's.

    After the block it goes; if the block raises, it stays as far as a next run can go on from it.

    Raises:
        BusyError: another process is at it.
    """
    path = partial_path(target)
    require_regular(path / JOURNAL)
    with (
        naming(target, path),
        sole_writer(target, path / LOCK),
        (path / JOURNAL).open("a+", encoding="utf-8") as journal,
    ):
        partial = Partial(path, journal, job)
        try:
            yield partial
        except BaseException:
            if not partial.chunks:
                shutil.rmtree(path, ignore_errors=True)
            raise
        shutil.rmtree(path)


@contextmanager
def telling_what_stays(target: Path) -> Iterator[None]:
    """Add to a user's error where the next run goes on, if something is left to go on from."""
    try:
        yield
    except BusyError:
        raise
    except (MarginfaceError, OSError) as error:
        path = partial_path(target)
        if not path.exists():
            raise
        raise MarginfaceError(
            f"{message_of(error)}; what is done so far waits in {path}: run the same command to go "
            "on from there, or remove it"
        ) from error


def _whole_lines(journal: TextIO) -> list[Any]:
    """Return the lines of a journal, up to one that a kill cut short."""
    journal.seek(0)
    lines = []
    with suppress(ValueError, RecursionError):
        for line in journal:
            lines.append(json.loads(line))
    return lines
