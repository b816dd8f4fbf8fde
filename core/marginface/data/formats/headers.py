"""The headers of a RecordIO file's records, in chunks: labels without reading images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.recordio import LONGEST, MAGIC, WHOLE, RecordFile
from marginface.data.sources import OnProgress, silent

CHUNK = 65_536  # records at a time, to bound memory
WORDS = 9  # magic, length, flag, label, id (2), second id (2), the first of several labels


@dataclass(frozen=True, eq=False)
class Headers:
    """The fields of `Labelled` but the image, as arrays [records].

    Attributes:
        flag, label, key: int64, float32, uint64.
        empty: bool, whether there is no image behind the labels.
        end: int64, the byte behind the record.
    """

    flag: NDArray[np.int64]
    label: NDArray[np.float32]
    key: NDArray[np.uint64]
    empty: NDArray[np.bool_]
    end: NDArray[np.int64]


def read_headers(
    records: RecordFile, offsets: NDArray[np.int64], on_progress: OnProgress = silent
) -> Headers:
    """Return the headers of the records that begin at `offsets`.

    Raises:
        MarginfaceError: no whole record begins at one of them.
    """
    count = len(offsets)
    headers = Headers(
        np.empty(count, np.int64),
        np.empty(count, np.float32),
        np.empty(count, np.uint64),
        np.empty(count, np.bool_),
        np.empty(count, np.int64),
    )
    words = records.words()
    for begin in range(0, count, CHUNK):
        chunk = slice(begin, begin + CHUNK)
        plain = _read_plain(words, offsets[chunk], headers, chunk, records.size)
        for index in np.flatnonzero(~plain) + begin:
            _read_one(records, int(offsets[index]), headers, index)
        on_progress(min(begin + CHUNK, count), count)
    return headers


def _read_plain(
    words: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    headers: Headers,
    chunk: slice,
    size: int,
) -> NDArray[np.bool_]:
    """Read the records that are whole and not split; return a mask of them."""
    at = offsets[:, None] // 4 + np.arange(WORDS)
    header_words = words[np.clip(at, 0, len(words) - 1)]
    length = (header_words[:, 1] & LONGEST).astype(np.int64)
    flag = header_words[:, 2].astype(np.int64)
    floats = header_words.view("<f4")
    headers.flag[chunk] = flag
    headers.label[chunk] = np.where(flag > 0, floats[:, 8], floats[:, 3])
    headers.key[chunk] = header_words[:, 4:6].copy().view("<u8")[:, 0]
    headers.empty[chunk] = length == 24 + 4 * flag
    headers.end[chunk] = offsets + 8 + (length + 3) // 4 * 4
    plain: NDArray[np.bool_] = (
        (header_words[:, 0] == MAGIC)
        & (header_words[:, 1] >> 29 == WHOLE)
        & (offsets >= 0)
        & (offsets < size)
        & (offsets % 4 == 0)
        & (length >= 24 + 4 * flag)
        & (headers.end[chunk] <= size)
    )
    return plain


def _read_one(records: RecordFile, offset: int, headers: Headers, index: np.intp) -> None:
    """Read a record that is split, or find out what is wrong with it."""
    record = records.labelled(offset)
    headers.flag[index] = record.flag
    headers.label[index] = record.label
    headers.key[index] = record.key
    headers.empty[index] = not record.image
    headers.end[index] = records.end(offset)
