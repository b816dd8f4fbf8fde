"""The index of a record file, kept in a file next to it and memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from marginface.atomic import replacing
from marginface.data.formats.compact import Texts
from marginface.data.formats.record_index import RecordIndex, fit_for_files
from marginface.errors import MarginfaceError
from marginface.regular import require_regular

# Version 1 had labels beyond float32, and fingerprints that varied by Unicode form; version 2 had
# numbers for names with a colon or a leading tilde.
VERSION = 3
SUFFIX = ".index"  # train.rec.index

INT64 = ("offsets", "labels", "keys", "identities.offsets", "files.offsets")  # others are bytes


@dataclass(frozen=True, eq=False)
class MappedIndex(RecordIndex):
    """An index that lies in a file; pickled, it is the file's name.

    Attributes:
        path: the file.
        stamp: what it was made of.
    """

    path: Path = Path()
    stamp: str = ""

    def __reduce__(self) -> tuple[Callable[..., MappedIndex], tuple[Path, str]]:
        return load_index, (self.path, self.stamp)


def cached_index(
    path: Path, sources: Sequence[Path], build: Callable[[], RecordIndex]
) -> RecordIndex:
    """Return the index of a record file: the cached one if it was made of these very files.

    Otherwise it is built, and cached where the folder can be written.

    Args:
        path: the record file.
        sources: the files that the index is made of.
        build: makes it.
    """
    cache = path.with_name(path.name + SUFFIX)
    stamp = _stamp(sources)
    with suppress(MarginfaceError):
        return load_index(cache, stamp)
    index = build()
    with suppress(OSError, SafetensorError, MarginfaceError):
        _save(cache, index, stamp)
        return load_index(cache, stamp)  # frees memory: this one is mapped
    return index


def load_index(path: Path, stamp: str) -> MappedIndex:
    """Return a cached index.

    Raises:
        MarginfaceError: there is none, it is of other files than the stamp, or damaged.
    """
    require_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:  # checks the header
            metadata = file.metadata() or {}
        if metadata.get("stamp") == stamp:
            return _mapped(path, stamp, metadata["fingerprint"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise MarginfaceError(f"{path} is no index of a record file: {error}") from error
    raise MarginfaceError(f"{path} is of other records; the file has changed since it was opened")


def _stamp(sources: Sequence[Path]) -> str:
    """Return a stamp that changes with any of the files."""
    stats = [(path.name, path.stat()) for path in sources]
    return json.dumps([VERSION, *[(name, s.st_size, s.st_mtime_ns) for name, s in stats]])


def _save(path: Path, index: RecordIndex, stamp: str) -> None:
    texts = {"identities": Texts.of(index.identities)}
    if index.files:
        texts["files"] = index.files
    arrays: dict[str, Any] = {"offsets": index.offsets, "labels": index.labels, "keys": index.keys}
    for name, text in texts.items():
        arrays |= {f"{name}.offsets": text.offsets, f"{name}.encoded": text.encoded}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # the umask's; safetensors would leave 600
        save_file(arrays, temporary, {"stamp": stamp, "fingerprint": index.fingerprint})
        temporary.chmod(mode)


def _mapped(path: Path, stamp: str, fingerprint: str) -> MappedIndex:
    """Return the index in a file, with every offset and label checked."""
    arrays = _map_arrays(path)
    offsets, labels, keys = (arrays[name] for name in ("offsets", "labels", "keys"))
    identities = Texts(arrays["identities.offsets"], arrays["identities.encoded"])
    files = None
    if "files.offsets" in arrays:
        files = Texts(arrays["files.offsets"], arrays["files.encoded"])
    if not (
        len(offsets) == len(labels) == len(keys) == len(files or keys)
        and fit_for_files(identities)
        and (files is None or fit_for_files(files))
        and (not len(labels) or 0 <= labels.min() <= labels.max() < len(identities))
    ):
        raise ValueError("its parts do not fit together")
    return MappedIndex(offsets, labels, keys, tuple(identities), files, fingerprint, path, stamp)


def _map_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a safetensors file, mapped; its own reader copies."""
    file = np.asarray(np.memmap(path, np.uint8, "r"))
    begin = 8 + int(file[:8].view("<u8")[0])
    arrays = {}
    for name, entry in json.loads(file[8:begin].tobytes()).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            kind = np.int64 if name in INT64 else np.uint8
            arrays[name] = file[begin + first : begin + last].view(kind)
    return arrays
