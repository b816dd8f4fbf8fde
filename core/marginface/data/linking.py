"""A folder of some of another folder's files, without copying what they hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from marginface.atomic import new_folder
from marginface.data.names import image_path, inner_path
from marginface.outputs import put_folder
from marginface.regular import real_path


def link_images(root: Path, names: Iterable[str], target: Path) -> None:
    """Make a folder of `identity/image` files of another: hard links, or copies where links fail.

    It appears by one rename, so a folder of that name is whole.
    """
    link_files(((image_path(root, name), name) for name in names), target)


def link_files(files: Iterable[tuple[Path, str]], target: Path) -> None:
    """Make a folder of files, each with its name there; see `link_images`."""
    with new_folder(target, put_folder) as partial:
        for old, name in files:
            destination = inner_path(partial, name)
            destination.parent.mkdir(parents=True, exist_ok=True)
            _link(old, destination)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(real_path(old), new)
    except OSError:  # another file system, or one without links
        shutil.copy2(old, new)
