"""The formats of sets of labelled images: what --data and --images take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from marginface.data.formats.folder import open_folder
from marginface.data.formats.record_layout import open_rec
from marginface.data.formats.recordio import is_recordio
from marginface.data.formats.tfrecord import is_tfrecord
from marginface.data.formats.tfrecord_layout import open_tfrecord
from marginface.data.sources import LabelledImages, OpenOptions
from marginface.formats import Formats

IMAGE_SETS: Formats[Callable[[Path, OpenOptions], LabelledImages]] = Formats()
IMAGE_SETS.register("a folder of images", open_folder, recognises=Path.is_dir)
IMAGE_SETS.register("a .rec", open_rec, ".rec", recognises=is_recordio)
IMAGE_SETS.register("a .tfrecord", open_tfrecord, recognises=is_tfrecord)
