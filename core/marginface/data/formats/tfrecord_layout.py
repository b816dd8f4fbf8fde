"""The images of a .tfrecord file, or of several that are one set, from their records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marginface.data.formats.compact import TextCollector
from marginface.data.formats.index_cache import cached_index
from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.record_index import RecordIndex, make_index
from marginface.data.formats.sharded import ShardedRecords
from marginface.data.formats.shards import shard_paths
from marginface.data.sources import OnProgress, OpenOptions, silent
from marginface.extras import require

CHUNK = 1024  # records between two calls of on_progress


def open_tfrecord(path: Path, options: OpenOptions) -> RecordImages:
    """Open a .tfrecord as a set of images; of one in several files, any stands for all.

    Raises:
        MarginfaceError: as `index_of_tfrecord` and `RecordImages.checked`.
    """
    records = ShardedRecords(shard_paths(path))
    index = index_of_tfrecord(records, on_progress=options.on_progress)
    return RecordImages(records, index, options.size, options.resize).checked(options)


def index_of_tfrecord(records: ShardedRecords, *, on_progress: OnProgress = silent) -> RecordIndex:
    """Return the index of the images in TFRecord files, in their order; keys count from 0.

    Names come from the features `image/class/text` and `image/filename`, where they are. To make
    the index the files are read once; then it is cached in `NAME.tfrecord.index`, of the first
    file's name, where that can be written.

    Args:
        records: the files.
        on_progress: called with (records read, all records) where no cached index is found.

    Raises:
        MarginfaceError: a damaged file, or a record that is no labelled image.
    """

    def build() -> RecordIndex:
        require("data", "pyarrow")  # for `make_index`, after the long read
        offsets = records.offsets()
        numbers = np.empty(len(offsets), np.int64)
        identities, files = TextCollector(), TextCollector()
        for key, offset in enumerate(offsets.tolist()):
            example = records.example(offset)
            numbers[key] = example.label
            folder, _, file = example.file.rpartition("/")
            identity = example.identity or folder.rpartition("/")[2] or str(example.label)
            identities.append(identity)
            files.append(file)
            if (key + 1) % CHUNK == 0 or key + 1 == len(offsets):
                on_progress(key + 1, len(offsets))
        names = zip(identities.texts(), files.texts(), strict=True)
        return make_index(offsets, np.arange(len(offsets)), numbers, names)

    return cached_index(records.path, records.paths, build)
