"""A folder of some of another folder's files, without copying what they hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from marginface.atomic import new_folder
from marginface.data.names import inner_path


def link_images(root: Path, names: Iterable[str], target: Path) -> None:
    """Make a folder of `identity/image` files of another: hard links, or copies where links fail.

    It appears by one rename, so a folder of that name is whole.
    """
    with new_folder(target) as partial:
        for name in names:
            new = inner_path(partial, name)
            new.parent.mkdir(exist_ok=True)
            _link(root / name, new)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old.resolve(), new)
    except OSError:  # another file system, or one without links
        shutil.copy2(old, new)
