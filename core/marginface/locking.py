"""One writer for each output: a file lock, which the operating system drops after a kill."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marginface.atomic import naming
from marginface.errors import BusyError
from marginface.regular import require_regular
from marginface.text import printable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # the last two on NFS and Windows
MOST_BYTES = 4096  # read from a lock file
MOST_COMMAND = 200  # letters
ATTEMPTS = 100  # to open a file that others take away
_held: set[int] = set()  # descriptors


@contextmanager
def sole_writer(output: Path, lock: Path | None = None) -> Iterator[None]:
    """Let no other process write `output` until the block ends, or this process does.

    The lock file names the writer and is removed after the block. A kill leaves the file behind,
    but not locked. A file system without locks gets a warning.

    Args:
        output: a file or folder, which need not exist; its missing parents are made, and removed
            again if they are empty at the end.
        lock: the file to lock; `.NAME.lock` next to `output` if None.

    Raises:
        BusyError: another process, of any host that shares the file system, writes it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, sole_writer(Path(folder) / "a.rec"):
    ...     print([file.name for file in Path(folder).iterdir()])
    ['.a.rec.lock']
    """
    path = lock or output.with_name(f".{output.name}.lock")
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    with _going_if_empty(missing):
        with naming(output, path):
            descriptor = _acquire(path, output)
        _held.add(descriptor)
        try:
            _introduce(descriptor)
            yield
        finally:
            if descriptor in _held:  # a forked process has none
                _held.remove(descriptor)
                _release(descriptor, path)


@contextmanager
def _going_if_empty(folders: list[Path]) -> Iterator[None]:
    try:
        yield
    finally:
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()


def _acquire(path: Path, output: Path) -> int:
    """Open and lock the file; return its descriptor.

    A writer that ends removes its lock file, so the file that was opened and locked here may be
    gone already: then this tries again.
    """
    require_regular(path)
    for _ in range(ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link could lead to a file that must not be written.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            continue
        except FileExistsError:
            if path.parent.is_file():
                raise
            continue  # another took the folder away while mkdir looked what was there
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in HELD:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise BusyError(
                    f"another process is writing {output}: {holder}; wait for it, stop it, or "
                    "give another name"
                ) from None
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            warnings.warn(
                f"the file system of {output} has no locks ({error.strerror}); see to it yourself "
                "that no other process writes it",
                stacklevel=4,
            )
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
    raise BusyError(f"other processes are writing {output}; give another name")


def _release(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":  # where no file that is open can go
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError):
        if _is_at(descriptor, path):
            path.unlink()
    os.close(descriptor)


def _lock(descriptor: int) -> None:
    # flock, as POSIX's own locks go once any descriptor of the file is closed; Linux makes it one
    # of those on NFS, where it holds for all hosts.
    if sys.platform == "win32":
        os.lseek(descriptor, MOST_BYTES, os.SEEK_SET)  # the bytes before can be read by others
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _introduce(descriptor: int) -> None:
    """Write this process's host, number and command to the lock file."""
    facts = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": _shorten(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
    }
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(facts).encode())


def _holder(descriptor: int) -> str:
    """Read the holder of the lock from its file."""
    for _ in range(10):
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            facts = json.loads(os.read(descriptor, MOST_BYTES))
            names = ("process", "host", "since", "command")
            process, host, since, command = (printable(str(facts[name])) for name in names)
            return f"process {process} on {host} since {since} ({command})"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            time.sleep(0.05)  # it may be about to say so
    return "one that does not say which it is"


def _shorten(text: str) -> str:
    """Cut a text to the length that fits in a message."""
    return text if len(text) <= MOST_COMMAND else f"{text[: MOST_COMMAND - 4]} ..."


def _forget() -> None:
    """Close locks in a forked process: it would keep them after this one was killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
