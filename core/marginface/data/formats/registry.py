"""The formats of sets of labelled images: what --data and --images take.

What reads a format is imported when one is opened, so a folder needs no package of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from marginface.data.formats.folder import open_folder
from marginface.data.formats.recordio import is_recordio
from marginface.data.formats.tfrecord_head import is_tfrecord
from marginface.data.sources import LabelledImages, OpenOptions
from marginface.formats import Formats


def _open_rec(path: Path, options: OpenOptions) -> LabelledImages:
    from marginface.data.formats.record_layout import open_rec

    return open_rec(path, options)


def _open_tfrecord(path: Path, options: OpenOptions) -> LabelledImages:
    from marginface.data.formats.tfrecord_layout import open_tfrecord

    return open_tfrecord(path, options)


IMAGE_SETS: Formats[Callable[[Path, OpenOptions], LabelledImages]] = Formats(
    use="to train on or to embed: give it as --data, or --images", returns=LabelledImages
)
IMAGE_SETS.register("a folder of images", open_folder, recognises=Path.is_dir)
IMAGE_SETS.register("a .rec", _open_rec, ".rec", recognises=is_recordio)
IMAGE_SETS.register(
    "a .tfrecord", _open_tfrecord, ".tfrecord", ".tfrecords", recognises=is_tfrecord
)


def is_rec(path: Path) -> bool:
    """Return whether what reads a set reads .rec files, be it this library's or a user's own.

    Raises:
        MarginfaceError: there is no such file or folder, or it is of another kind.
    """
    return ".rec" in IMAGE_SETS.find(path).suffixes


def has_index(path: Path) -> bool:
    """Return whether a path is a .rec; False of nothing and of verification sets, too."""
    return path.exists() and IMAGE_SETS.get(path) is not None and is_rec(path)
