"""Short, distinct names of files, for tables and folders."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from marginface.errors import MarginfaceError
from marginface.text import as_utf8, from_system

# Suffixes that a label drops; any other dot belongs to the name, as in arcface_m0.5.
ENDING = re.compile(
    r"\.(bin|csv|json|lst|npz|onnx|parquet|rec|tsv|txt|zip|tfrecords?(-[^-]+-of-\d+)?)$",
    re.IGNORECASE,
)


def short_name(path: Path) -> str:
    """Return the name of a file or folder without a known suffix.

    >>> [short_name(Path(name)) for name in ("runs/arcface_m0.5", "r50_m0.5.onnx", "lfw.v2")]
    ['arcface_m0.5', 'r50_m0.5', 'lfw.v2']
    """
    name = _name(path)
    return ENDING.sub("", name) or name


def distinct_labels(
    paths: Sequence[Path], kind: str, labels: Sequence[str] | None = None
) -> list[str]:
    """Choose a label for each path: its short name; where needed with type, folders, a number.

    Args:
        paths: files or folders.
        kind: a word for these files, for the message.
        labels: to use in place of the short names.

    Raises:
        MarginfaceError: a path is given twice.

    >>> distinct_labels([Path("a/last.onnx"), Path("b/last.onnx"), Path("r50.onnx")], "model")
    ['a_last', 'b_last', 'r50']
    >>> distinct_labels([Path("arcface_m0.5"), Path("arcface_m0.4")], "model")
    ['arcface_m0.5', 'arcface_m0.4']
    >>> distinct_labels([Path("lfw.bin"), Path("lfw.zip"), Path("lfw")], "set")
    ['lfw_bin', 'lfw_zip', 'lfw']
    >>> distinct_labels([Path("lfw.bin"), Path("lfw.zip"), Path("lfw_zip.zip")], "set")
    ['lfw_bin', 'lfw_zip', 'lfw_zip_2']
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - "run/.." is no name
    for path, times in Counter(absolute).items():
        if times > 1:
            raise MarginfaceError(f"{kind} {path} is given {times} times; give it once")
    chosen = list(labels or map(short_name, absolute))
    endings = [_name(path).removeprefix(short_name(path))[1:] for path in absolute]
    beside = Counter((path.parent, label) for path, label in zip(absolute, chosen, strict=True))
    chosen = [
        f"{label}_{ending}" if ending and beside[path.parent, label] > 1 else label
        for path, ending, label in zip(absolute, endings, chosen, strict=True)
    ]
    for level in range(max((len(path.parents) for path in absolute), default=0)):
        folders = defaultdict(set)
        for path, label in zip(absolute, chosen, strict=True):
            folders[label].add(path.parent)
        chosen = [
            f"{_name(path.parents[level])}_{label}"
            if len(folders[label]) > 1 and level < len(path.parents)
            else label
            for path, label in zip(absolute, chosen, strict=True)
        ]
    return _numbered(chosen)


def _name(path: Path) -> str:
    return as_utf8(from_system(path.name))


def _numbered(labels: Sequence[str]) -> list[str]:
    numbered: list[str] = []
    for label in labels:
        names = itertools.chain([label], (f"{label}_{number}" for number in itertools.count(2)))
        numbered.append(next(name for name in names if name not in numbered))
    return numbered
