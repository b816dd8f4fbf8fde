"""One rule for what commands write: what exists is refused; --overwrite replaces it.

A file is replaced whatever it holds. A folder is replaced only if marginface wrote it and nothing
came or went since: it holds a file `.marginface` with a digest of the names in it. An empty folder
is as good as none. What a command reads is never its output.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marginface.atomic import naming
from marginface.errors import MarginfaceError
from marginface.regular import real_path

SIGNATURE = ".marginface"
# Locks and what a kill left of ours; what file managers leave behind.
PASSING = re.compile(r"\.(.*\.)?lock|\.(.*\.)?[0-9a-f]{8}\.tmp|\.DS_Store|Thumbs\.db|desktop\.ini")


def check_file(path: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Raise before the work if a file cannot be written.

    Args:
        path: the file.
        overwrite: one that exists may be replaced.
        inputs: what the command reads.

    Raises:
        MarginfaceError: it exists, is a folder, a link or a device, is read, or lies in a file.
    """
    refuse_inputs(path, inputs)
    if path.is_dir():
        raise MarginfaceError(f"output {path} is a folder, expected the name of a file")
    if path.is_symlink():  # /dev/stdout is one
        raise _is_link(path)
    if path.exists() and not path.is_file():
        raise MarginfaceError(f"output {path} is no regular file; give another name")
    if path.exists() and not overwrite:
        raise _exists(path)
    check_place(path.absolute().parent, path)


def check_folder(
    path: Path, *, overwrite: bool, inputs: Iterable[Path | None] = (), whole: bool = False
) -> None:
    """Raise before the work if a folder cannot be written.

    Args:
        path: the folder.
        overwrite: one of marginface's may be replaced.
        inputs: what the command reads.
        whole: it will appear by a rename, so it cannot stand for another place.

    Raises:
        MarginfaceError: it exists and may not be replaced, is a file, or holds what is read.
    """
    refuse_inputs(path, inputs)
    if not path.is_dir():
        if path.is_symlink() and not path.exists():
            raise _is_link(path)
        check_place(path)
        return
    if not _is_empty(path):
        if not _is_unchanged(path):
            raise not_ours(path)
        if not overwrite:
            raise _exists(path)
    if whole and (path.is_symlink() or path.is_mount() or path.samefile(Path.cwd())):
        raise MarginfaceError(
            f"output {path} is a link, a mount or the current folder, which cannot be renamed; "
            "name a new folder in it"
        )
    check_place(path)


def check_place(folder: Path, output: Path | None = None) -> None:
    """Raise if a folder for an output, itself if None, cannot be made, or written to."""
    output = output or folder
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise MarginfaceError(
            f"output {output} needs a folder, but {there} is a file; give another name"
        )
    if not os.access(there, os.W_OK):
        raise MarginfaceError(
            f"output {output} cannot be written, {there} is not yours to write to; give another "
            "name or change its permissions"
        )


def not_ours(path: Path) -> MarginfaceError:
    """Return the error for a folder that --overwrite does not replace."""
    return MarginfaceError(
        f"output {path} exists already, and --overwrite replaces only what marginface wrote, if "
        "nothing came or went since; give another name, or remove it"
    )


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder in `folder` to write to; what is in it takes the place of the rest.

    Call `check_folder` before. If the block raises, `folder` stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(4)}.tmp"
    try:
        with naming(folder, temporary, inside=True):
            temporary.mkdir()
            yield temporary
            if not _is_empty(folder) and not _is_unchanged(folder):
                raise not_ours(folder)  # somebody put something there during the work
            for old in folder.iterdir():
                if old != temporary and not PASSING.fullmatch(old.name):
                    _remove(old)
            for new in temporary.iterdir():
                new.rename(folder / new.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sign(folder)


def put_folder(new: Path, target: Path) -> None:
    """Sign a folder that is whole and rename it to `target`, in place of what stands there.

    Raises:
        MarginfaceError: that is neither empty nor marginface's.
    """
    sign(new)
    if not target.is_dir():
        new.rename(target)
        return
    if not _is_empty(target) and not _is_unchanged(target):
        raise not_ours(target)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


@contextmanager
def adding(folder: Path) -> Iterator[None]:
    """Let the block add files of marginface's to a folder, which --overwrite replaces as before."""
    ours = _is_unchanged(folder)
    yield
    if ours:
        sign(folder)


def sign(folder: Path) -> None:
    """Note in a folder which names it holds."""
    (folder / SIGNATURE).write_text(f"marginface wrote these files: {_digest(folder)}\n")


def clear(folder: Path) -> None:
    """Remove what an earlier run of a command left in a folder that `check_folder` let pass."""
    if not _is_empty(folder) and not _is_unchanged(folder):
        raise not_ours(folder)
    for old in folder.iterdir():
        _remove(old)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return all(PASSING.fullmatch(entry.name) for entry in entries)


def _is_unchanged(folder: Path) -> bool:
    signature = folder / SIGNATURE
    if not signature.is_file():
        return False
    with signature.open("rb") as file:
        return file.read(200).decode(errors="replace").split()[-1:] == [_digest(folder)]


def _digest(folder: Path) -> str:
    """Return a digest of the names in a folder."""
    names: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not PASSING.fullmatch(name)]
        inside = Path(parent).relative_to(folder).as_posix()
        names += [f"{inside}/{name}" for name in (*folders, *files) if not PASSING.fullmatch(name)]
    # Bytes are the same in every locale.
    encoded = (os.fsencode(name) for name in names if name != f"./{SIGNATURE}")
    return hashlib.sha256(b"\0".join(sorted(encoded))).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def refuse_inputs(path: Path, inputs: Iterable[Path | None]) -> None:
    """Raise if an output is, or holds, what the command reads."""
    output = real_path(path)
    for each in inputs:
        if each is None or not each.exists():
            continue
        if real_path(each) == output or (path.exists() and path.samefile(each)):
            raise MarginfaceError(
                f"output {path} is what the command reads, {each}; give another name"
            )
        if real_path(each).is_relative_to(output):
            raise MarginfaceError(
                f"output {path} holds what the command reads, {each}; give another name"
            )


def refuse_among(path: Path, images: Path | None) -> None:
    """Raise if an output lies in a folder of images, where it would be taken for one of them."""
    if images is not None and images.is_dir() and real_path(path).is_relative_to(real_path(images)):
        raise MarginfaceError(
            f"output {path} lies in {images}, among the images; choose a place outside"
        )


def _is_link(path: Path) -> MarginfaceError:
    return MarginfaceError(
        f"output {path} exists already, a link to {path.readlink()}; give another name, or remove "
        "the link"
    )


def _exists(path: Path) -> MarginfaceError:
    return MarginfaceError(
        f"output {path} exists already; pass --overwrite to replace it, or give another name"
    )
