"""The index of a record file: place, label and name of each image, without reading any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.compact import Texts, encoded_name
from marginface.data.lookup import same_form
from marginface.data.names import HIDDEN, LONGEST, NEVER
from marginface.extras import needs
from marginface.text import ESCAPED, from_utf8

CHUNK = 2**20  # bytes looked at together

_NOT_IN_NAMES = np.zeros(256, np.bool_)
_NOT_IN_NAMES[[*NEVER.encode()]] = True
_CONTROL = np.zeros(256, np.bool_)
_CONTROL[[*range(32), 127]] = True


@dataclass(frozen=True, eq=False)
class RecordIndex:
    """The images of a record file, in their order.

    Attributes:
        offsets: int64 [images], the byte at which the record of each begins.
        labels: int64 [images], indices into `identities`.
        keys: int64 [images], the number of each record.
        identities: their names.
        files: name of each image within its identity; None: they are called by their keys.
        fingerprint: digest of the names, in order.
    """

    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    keys: NDArray[np.int64]
    identities: tuple[str, ...]
    files: Texts | None
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, index: int) -> str:
        """Return the name of image `index`: `identity/file` or `identity/key`."""
        file = self.files[index] if self.files else self.keys[index]
        return f"{self.identities[self.labels[index]]}/{file}"

    def names(self) -> Iterator[str]:
        """Yield the name of each image, in order."""
        files: Iterable[str | int] = self.files or self.keys.data
        for label, file in zip(self.labels.data, files, strict=True):
            yield f"{self.identities[label]}/{file}"

    def take(self, chosen: NDArray[np.int64]) -> RecordIndex:
        """Return the index of some images; identities that have none of them go."""
        labels_left, labels = np.unique(self.labels[chosen], return_inverse=True)
        return _with_fingerprint(
            RecordIndex(
                self.offsets[chosen],
                labels,
                self.keys[chosen],
                tuple(self.identities[label] for label in labels_left),
                Texts.of(self.files[index] for index in chosen) if self.files else None,
            )
        )


def make_index(
    offsets: NDArray[np.int64],
    keys: NDArray[np.int64],
    numbers: NDArray[np.int64],
    names: Iterable[tuple[str, str]] | None = None,
) -> RecordIndex:
    """Return the index of images, each with a number for its identity.

    Args:
        offsets, keys: as in `RecordIndex`.
        numbers: int64 [images], the labels that the file has; gaps close.
        names: (identity, file) of each image. Identities are called by their numbers where not
            names cannot be folders or are not distinct, and images likewise by their keys.
    """
    values, labels = np.unique(numbers, return_inverse=True)
    identities = tuple(map(str, values.tolist()))
    files = None
    if names is not None:
        folders: dict[int, str] = {}
        several = set()

        def listed() -> Iterator[str]:
            for label, (folder, file) in zip(labels.data, names, strict=True):
                first_folder = folders.setdefault(label, folder)
                if first_folder != folder and same_form(first_folder) != same_form(folder):
                    several.add(label)
                yield file

        files = _names(Texts.of(listed()))
        folder_names = _names(Texts.of(folders[label] for label in range(len(values))))
        if not several and folder_names is not None and fit_for_files(folder_names):
            distinct = tuple(folder_names)
            identities = distinct if len(set(distinct)) == len(distinct) else identities
        if files is not None and not (fit_for_files(files) and _distinct(labels, files)):
            files = None
    return _with_fingerprint(RecordIndex(offsets, labels, keys, identities, files))


def fit_for_files(texts: Texts) -> bool:
    """Return whether every text can name a file, in its folder only; see `inner_path`.

    >>> fit_for_files(Texts.of(["ann", "1.jpg"])), fit_for_files(Texts.of(["ann", "../1.jpg"]))
    (True, False)
    """
    offsets, encoded = texts.offsets, texts.encoded
    lengths = np.diff(offsets)
    return not len(texts) or bool(
        (offsets[0], offsets[-1]) == (0, len(encoded))
        and lengths.min() > 0
        and lengths.max() <= LONGEST
        and not (encoded[offsets[:-1]] == ord(HIDDEN)).any()
        and not _any_of(encoded, _NOT_IN_NAMES)
    )


def _any_of(encoded: NDArray[np.uint8], kind: NDArray[np.bool_]) -> bool:
    starts = range(0, len(encoded), CHUNK)
    return any(kind[encoded[begin : begin + CHUNK]].any() for begin in starts)


def _names(texts: Texts) -> Texts | None:
    """Return the names of which a record file holds the `escaped` texts, or None.

    Control characters and other backslashes are some other program's: a path of Windows, say.
    """
    if _any_of(texts.encoded, _CONTROL):
        return None
    if not _any_of(texts.encoded, np.arange(256) == ord("\\")):
        return texts
    if any("\\" in ESCAPED.sub("", text) for text in texts):
        return None
    return Texts.of(map(from_utf8, texts))


def _distinct(labels: NDArray[np.int64], files: Texts) -> bool:
    """Return whether no two images of an identity have one name."""
    with needs("data"):  # a folder's images have no such index
        import pyarrow as pa

    buffers = [None, pa.py_buffer(files.offsets), pa.py_buffer(files.encoded)]
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(files), buffers)
    table = pa.table({"label": labels, "file": column})
    return bool(table.group_by(["label", "file"]).aggregate([]).num_rows == len(labels))


def _with_fingerprint(index: RecordIndex) -> RecordIndex:
    """Add the digest that a folder of these names has, so that one may replace the other."""
    digest, separator = hashlib.sha256(), b""
    for name in index.names():
        digest.update(separator + encoded_name(same_form(name)))
        separator = b"\0"
    return replace(index, fingerprint=digest.hexdigest())
