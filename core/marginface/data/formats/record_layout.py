"""The images of a .rec file, from its records, its .idx and, for names, its .lst.

InsightFace's layout has records without an image that tell which keys belong to an identity, as
float32: inexact above 2**24. Each image's own record has its label, too, exact, and is what
InsightFace's training reads; so does this. What im2rec packs has images alone.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.headers import Headers, read_headers
from marginface.data.formats.index_cache import cached_index
from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.record_index import RecordIndex, make_index
from marginface.data.formats.recordio import LARGEST_LABEL, RecordFile
from marginface.data.formats.shards import warn_of_parts
from marginface.data.formats.tables import Ints, distinct, read_idx, read_names, write_idx
from marginface.data.sources import OnProgress, OpenOptions, silent
from marginface.errors import MarginfaceError
from marginface.regular import require_regular

LARGEST_KEY = 2**63 - 1


def open_rec(path: Path, options: OpenOptions) -> RecordImages:
    """Open a .rec as a set of images.

    Raises:
        MarginfaceError: as `index_of_records` and `RecordImages.checked`.
    """
    warn_of_parts(path)
    index = index_of_records(
        path, rebuild_index=options.rebuild_index, on_progress=options.on_progress
    )
    return RecordImages(RecordFile(path), index, options.size, options.resize).checked(options)


def index_of_records(
    path: Path, *, rebuild_index: bool = False, on_progress: OnProgress = silent
) -> RecordIndex:
    """Return the index of the images in a .rec file, sorted by their keys.

    Names come from `identity/file` paths in the .lst, if there is one; else an image is called by
    its label and its key. The index is cached in `NAME.rec.index` where it can be written.

    Args:
        path: the .rec; `NAME.idx` and `NAME.lst` lie next to it.
        rebuild_index: where the .idx is missing or does not fit, write it from the .rec.
        on_progress: called with (records read, all records) where no cached index is found.

    Raises:
        MarginfaceError: a damaged .rec or .lst, or an .idx that is missing, damaged or of another
            .rec and shall not be rebuilt.
    """
    lst = path.with_suffix(".lst")
    require_regular(lst, "expected lines of key TAB label TAB path")
    sources = [path, lst] if lst.is_file() else [path]

    def build() -> RecordIndex:
        keys, offsets, headers = _read(path, rebuild_index, on_progress)
        images = np.flatnonzero(~((headers.flag == 2) & headers.empty))
        images = images[np.argsort(keys[images], kind="stable")]
        keys, offsets = keys[images], offsets[images]
        numbers = _numbers(path, keys, headers.label[images])
        names = read_names(lst, keys, numbers) if lst in sources else None
        return make_index(offsets, keys, numbers, names)

    return cached_index(path, sources, build)


def _read(path: Path, rebuild_index: bool, on_progress: OnProgress) -> tuple[Ints, Ints, Headers]:
    """Return key, offset and headers of every record."""
    records, idx = RecordFile(path), path.with_suffix(".idx")
    require_regular(idx, "expected lines of key TAB offset")
    try:
        keys, offsets = read_idx(idx)
        headers = read_headers(records, offsets, on_progress)
        _require_all(idx, offsets, headers.end, records.size)
        return keys, offsets, headers
    except MarginfaceError as error:
        if not rebuild_index:
            raise MarginfaceError(
                f"{error}; if the .rec is whole, `marginface data inspect {quote(str(path))} "
                "--rebuild-index` writes its .idx anew"
            ) from error
    offsets = records.offsets()
    headers = read_headers(records, offsets, on_progress)
    keys = np.arange(len(offsets))
    if distinct(headers.key) and headers.key.max() <= LARGEST_KEY:
        keys = headers.key.astype(np.int64)
    with suppress(OSError):  # a read-only folder: the index is made again next time
        write_idx(idx, keys, offsets)
    return keys, offsets, headers


def _require_all(idx: Path, offsets: Ints, ends: Ints, size: int) -> None:
    """Raise unless the records follow one another from the file's first byte to its last."""
    order = np.argsort(offsets)
    if not np.array_equal(np.append(offsets[order], size), np.insert(ends[order], 0, 0)):
        raise MarginfaceError(f"{idx} does not have every record of its .rec once; it is stale")


def _numbers(path: Path, keys: Ints, labels: NDArray[np.float32]) -> Ints:
    """Return labels as whole numbers."""
    wrong = np.flatnonzero(
        ~((labels >= 0) & (labels <= LARGEST_LABEL) & (labels == np.floor(labels)))
    )
    if len(wrong):
        raise MarginfaceError(
            f"{path}: record {keys[wrong[0]]} has the label {labels[wrong[0]]}, expected a whole "
            f"number from 0 to {LARGEST_LABEL}, one for each identity (float32 tells no "
            "larger ones apart); number the identities anew and pack them again"
        )
    return labels.astype(np.int64)
