"""The format that a target's name asks for."""

from __future__ import annotations

import re
from pathlib import Path

from marginface.data.images import EXTENSIONS

# Endings of files that nothing here writes. Other dots belong to a folder's name, as in out.v2.
OTHER_FILES = (
    *(".7z", ".arrow", ".csv", ".gz", ".h5", ".hdf5", ".idx", ".json", ".lmdb", ".lst", ".mdb"),
    *(".npy", ".npz", ".onnx", ".parquet", ".pickle", ".pkl", ".pt", ".pth", ".record", ".records"),
    *(".recordio", ".recs", ".safetensors", ".tar", ".tfrec", ".tfrecords", ".tgz", ".tsv"),
    *(".txt", ".xz", ".yaml", ".yml", ".zst", *EXTENSIONS),
)
WRITTEN = (".rec", ".tfrecord", ".bin", ".zip")
SHARD = re.compile(r".*(-\d+-of-\d+)(\.tfrecords?|\.rec)?")


def target_format(target: Path) -> str:
    """Return the ending that decides the format of a target; a folder has none.

    >>> [target_format(Path(name)) for name in ("train.REC", "out", "out.v2", "faces.npz")]
    ['.rec', '', '', '.npz']
    """
    name = target.name.lower()
    if shard := SHARD.fullmatch(name):
        return shard[1]
    return next((end for end in (*WRITTEN, *OTHER_FILES) if name.endswith(end)), "")
