"""Arrays in a checkpoint's files; rows are read when they are asked for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from marginface.arrays import DTYPES, ArraySpec
from marginface.errors import MarginfaceError
from marginface.regular import special_kind
from marginface.text import brief


class DamagedCheckpointError(MarginfaceError):
    """A file of a checkpoint is missing, cut short or changed.

    Args:
        message: with the way out.
        found: the message without it.
    """

    def __init__(self, message: str, *, found: str) -> None:
        super().__init__(message)
        self.found = found


class StoredFile:
    """A safetensors file of a checkpoint, opened and checked when an array of it is asked for.

    Args:
        path: of the file.
        crc32: its checksum when it was written.
    """

    def __init__(self, path: Path, crc32: int) -> None:
        self.path, self._crc32, self._checked = path, crc32, False

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """Types and shapes of the arrays in the file."""
        return self._header[0]

    @cached_property
    def _header(self) -> tuple[dict[str, ArraySpec], dict[str, int]]:
        """Types and shapes of the arrays, and the byte where each begins."""
        require_file(self.path)
        try:
            with self.path.open("rb") as file:
                with safe_open(self.path, framework="numpy"):  # checks the header, lengths in it
                    pass
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            specs = {
                name: ArraySpec(DTYPES[each["dtype"]], tuple(each["shape"]))
                for name, each in header.items()
            }
            starts = {n: 8 + length + each["data_offsets"][0] for n, each in header.items()}
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from None
        except (SafetensorError, KeyError, ValueError) as error:
            raise self._damaged(str(error)) from None
        return specs, starts

    def check(self) -> None:
        """Raise MarginfaceError unless the file is what was written."""
        if self._checked:
            return
        require_file(self.path)
        value = 0
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    value = zlib.crc32(chunk, value)
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from None
        if value != self._crc32:
            raise damaged(self.path.parent, f"{self.path.name} is cut short or changed")
        self._checked = True

    def read(self, name: str, first: int, into: NDArray[Any]) -> None:
        """Fill `into` with rows of an array, from row `first` on."""
        self.check()
        spec = self.specs[name]
        row = ArraySpec(spec.dtype, spec.shape[1:]).nbytes
        with self.path.open("rb") as file:
            file.seek(self._header[1][name] + first * row)
            if file.readinto(into.reshape(-1).view(np.uint8).data) != into.nbytes:
                raise damaged(self.path.parent, f"{self.path.name} is cut short or changed")

    def _damaged(self, reason: str) -> DamagedCheckpointError:
        return damaged(self.path.parent, f"{self.path.name}: {reason}")


@dataclass(frozen=True)
class Part:
    """Some rows of an array, and the file that holds them."""

    file: StoredFile
    rows: range


@dataclass(frozen=True)
class StoredArray:
    """An array whose rows are in one file or in several.

    Args:
        name: of the array.
        spec: of the whole.
        parts: in the order of their rows, without a gap.
    """

    name: str
    spec: ArraySpec
    parts: Sequence[Part]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.spec.dtype

    def check(self, rows: slice) -> None:
        """Raise MarginfaceError unless the files that have some rows are what was written."""
        start, stop, _ = rows.indices(self.parts[-1].rows.stop)
        for part in self.parts:
            if max(start, part.rows.start) < min(stop, part.rows.stop):
                part.file.check()

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read some rows, from the files that have them and from no other."""
        start, stop, _ = rows.indices(self.shape[0])
        little = self.spec.dtype.newbyteorder("<")
        array = np.empty((max(0, stop - start), *self.shape[1:]), little)
        for file, part_rows in ((part.file, part.rows) for part in self.parts):
            first, last = max(start, part_rows.start), min(stop, part_rows.stop)
            if first < last:
                file.read(self.name, first - part_rows.start, array[first - start : last - start])
        return array.astype(self.spec.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole array."""
        del copy  # what was read is nobody else's
        if self.shape:
            return np.asarray(self[:], dtype)
        array = np.empty((), self.spec.dtype.newbyteorder("<"))
        self.parts[0].file.read(self.name, 0, array)
        return np.asarray(array, dtype or self.spec.dtype)


class StoredArrays(Mapping[str, StoredArray]):
    """The arrays of a checkpoint by canonical name; a shard is opened only for an array in it.

    Args:
        common: the file of the arrays that are not sharded.
        shards: each process's file, with the rows that it has of each array, the same in each.

    Raises:
        MarginfaceError: a file is missing, or they do not fit together; also on asking for one.
    """

    def __init__(
        self, common: StoredFile, shards: Sequence[tuple[StoredFile, Mapping[str, range]]]
    ) -> None:
        self._common, self._shards = common, shards
        self._shared = dict(shards[0][1]) if shards else {}
        self._names = sorted({*common.specs, *self._shared})

    def __getitem__(self, name: str) -> StoredArray:
        if name in self._shared:
            return _joined(name, [Part(file, rows[name]) for file, rows in self._shards])
        spec = self._common.specs[name]
        return StoredArray(name, spec, [Part(self._common, range(*(spec.shape or (1,))[:1]))])

    def __contains__(self, name: object) -> bool:
        return name in self._shared or name in self._common.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _joined(name: str, parts: Sequence[Part]) -> StoredArray:
    """Put the rows of several files together, one after the other."""
    folder, first, end = parts[0].file.path.parent, parts[0].file.specs.get(name), 0
    for part in parts:
        spec, file = part.file.specs.get(name), part.file.path.name
        expected = first and ArraySpec(first.dtype, (len(part.rows), *first.shape[1:]))
        if spec is None or spec != expected:
            raise damaged(folder, f"{file} does not have {len(part.rows)} rows of {name}")
        if part.rows.start != end:
            raise damaged(folder, f"rows of {name} from {end} on are missing before {file}")
        end = part.rows.stop
        whole_spec = ArraySpec(spec.dtype, (end, *spec.shape[1:]))
    return StoredArray(name, whole_spec, parts)


def require_file(path: Path) -> None:
    """Raise for a folder, a pipe or another thing in the place of a checkpoint's file."""
    if path.exists() and not path.is_file():
        raise damaged(path.parent, f"{path.name} is {special_kind(path) or 'a folder'}")


def damaged(path: Path, reason: str) -> DamagedCheckpointError:
    """Make the error of a checkpoint that cannot be read, with the way out where it was named."""
    found = f"checkpoint {path} is damaged ({brief(reason)})"
    return DamagedCheckpointError(
        f"{found}; give the run's folder for its newest whole one",
        found=found,
    )
