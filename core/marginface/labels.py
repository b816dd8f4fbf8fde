"""Short names for files, to tell them apart in tables and folders."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from marginface.errors import MarginfaceError


def distinct_labels(
    paths: Sequence[Path], kind: str, labels: Sequence[str] | None = None
) -> list[str]:
    """Return a label for each path: its stem; where needed with file type, folders, a number.

    Args:
        paths: files or folders.
        kind: what they are, for the message.
        labels: used in place of the stems.

    Raises:
        MarginfaceError: a path is given twice.

    >>> distinct_labels([Path("a/last.onnx"), Path("b/last.onnx"), Path("r50.onnx")], "model")
    ['a_last', 'b_last', 'r50']
    >>> distinct_labels([Path("lfw.bin"), Path("lfw.zip"), Path("lfw")], "set")
    ['lfw_bin', 'lfw_zip', 'lfw']
    >>> distinct_labels([Path("lfw.bin"), Path("lfw.zip"), Path("lfw_zip.zip")], "set")
    ['lfw_bin', 'lfw_zip', 'lfw_zip_2']
    """
    absolute = [path.absolute() for path in paths]
    for path, times in Counter(absolute).items():
        if times > 1:
            raise MarginfaceError(f"{kind} {path} is given {times} times; give it once")
    found = list(labels or (path.stem for path in absolute))
    beside = Counter((path.parent, label) for path, label in zip(absolute, found, strict=True))
    found = [
        f"{label}_{path.suffix[1:]}" if path.suffix and beside[path.parent, label] > 1 else label
        for path, label in zip(absolute, found, strict=True)
    ]
    for level in range(max((len(path.parents) for path in absolute), default=0)):
        folders = defaultdict(set)
        for path, label in zip(absolute, found, strict=True):
            folders[label].add(path.parent)
        found = [
            f"{path.parents[level].name}_{label}"
            if len(folders[label]) > 1 and level < len(path.parents)
            else label
            for path, label in zip(absolute, found, strict=True)
        ]
    return _numbered(found)


def _numbered(labels: Sequence[str]) -> list[str]:
    found: list[str] = []
    for label in labels:
        names = itertools.chain([label], (f"{label}_{number}" for number in itertools.count(2)))
        found.append(next(name for name in names if name not in found))
    return found
