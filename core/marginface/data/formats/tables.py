"""The text files next to a .rec: .idx with the place of each record, .lst with names of images."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.formats.compact import Texts
from marginface.errors import MarginfaceError
from marginface.extras import needs

with needs("data"):
    import pyarrow as pa
    from pyarrow import csv

IDX_COLUMNS = {"key": pa.int64(), "offset": pa.int64()}
LST_COLUMNS = {"key": pa.int64(), "label": pa.float64(), "path": pa.large_binary()}

Ints = NDArray[np.int64]


def read_idx(path: Path) -> tuple[Ints, Ints]:
    """Return keys and offsets [records] of an .idx file, lines of `key TAB offset`.

    Raises:
        MarginfaceError: it is missing or damaged.
    """
    table = _read(path, IDX_COLUMNS)
    keys, offsets = (table[name].to_numpy() for name in IDX_COLUMNS)
    if not distinct(keys):
        raise MarginfaceError(f"{path} has a key twice, expected another for each record")
    return keys, offsets


def distinct(keys: NDArray[Any]) -> bool:
    """Return whether no two keys are the same."""
    ordered = np.sort(keys)  # ten times as fast as np.unique, which hashes
    return not bool((ordered[1:] == ordered[:-1]).any())


def write_idx(path: Path, keys: Ints, offsets: Ints) -> None:
    """Write an .idx file, whole or not at all."""
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with replacing(path) as temporary, temporary.open("wb") as file:
        csv.write_csv(pa.table({"key": keys, "offset": offsets}), file, options)


def read_names(path: Path, keys: Ints, numbers: Ints) -> Iterable[tuple[str, str]] | None:
    """Return (identity, file) of images from an .lst file, lines of `key TAB label TAB path`.

    The identity is the folder in the path, or the label without one. Other files of that ending,
    such as InsightFace's lists of what to pack, tell no names: None.

    Args:
        path: the .lst.
        keys: int64 [images], which images.
        numbers: int64 [images], their labels, to be compared.

    Raises:
        MarginfaceError: it lacks an image or has other labels.
    """
    if not _names_keys(path):
        return None
    table = _read(path, LST_COLUMNS)
    listed = table["key"].to_numpy()
    order = np.argsort(listed, kind="stable")
    places = np.searchsorted(listed, keys, sorter=order).clip(max=len(listed) - 1)
    rows = order[places]
    wrong = np.flatnonzero((listed[rows] != keys) | (table["label"].to_numpy()[rows] != numbers))
    if len(wrong):
        raise MarginfaceError(
            f"{path} has no line for record {keys[wrong[0]]} of label {numbers[wrong[0]]}, so it "
            "is of another .rec; restore it, or take it away: identities then are called by number"
        )
    paths = table["path"].take(pa.array(rows)).combine_chunks()
    _, offsets, encoded = paths.buffers()
    texts = Texts(np.frombuffer(offsets, np.int64), np.frombuffer(encoded or b"", np.uint8))
    return _names(texts, numbers)


def _names(paths: Texts, numbers: Ints) -> Iterator[tuple[str, str]]:
    for path, number in zip(paths, numbers.data, strict=True):
        folder, _, file = path.rpartition("/")
        yield folder.rpartition("/")[2] or str(number), file


def _names_keys(path: Path) -> bool:
    """Return whether the first line of an .lst has the form with keys."""
    with path.open("rb") as file:
        fields = file.readline(65_536).removeprefix(codecs.BOM_UTF8).split(b"\t")
    try:
        key, label, _ = fields
        float(label)  # `read_names` compares its value with the record's
        return int(key) >= 0
    except ValueError:
        return False


def _read(path: Path, columns: Mapping[str, pa.DataType]) -> pa.Table:
    try:
        with path.open("rb") as file:  # Arrow takes paths in UTF-8 alone
            return csv.read_csv(
                file,
                csv.ReadOptions(column_names=list(columns)),
                csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False),
                csv.ConvertOptions(column_types=columns, null_values=[]),
            )
    except FileNotFoundError as error:
        raise MarginfaceError(f"no such file: {path}") from error
    except OSError as error:
        raise MarginfaceError(f"cannot read {path}: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        expected = " TAB ".join(columns)
        raise MarginfaceError(
            f"{path} is damaged: {' '.join(str(error).split())[:200]}; expected lines of {expected}"
        ) from error
