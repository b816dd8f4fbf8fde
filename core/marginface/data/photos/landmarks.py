"""Files of five points for each photo: JSON or CSV, checked."""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from marginface.data.photos.detection import Faces
from marginface.data.rows import Known, by_name, find_columns, read_rows, split_fields
from marginface.errors import MarginfaceError
from marginface.formats import Formats
from marginface.text import printable

POINT_COLUMNS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "x5", "y5")
COLUMNS: Known = {"path": (), **dict.fromkeys(POINT_COLUMNS, ()), "score": ()}
FEWEST = 1 + len(POINT_COLUMNS)
FARTHEST = 1e6  # pixels: what lies farther out is no coordinate
IN_JSON = "expected [score, [[x, y], ...]] with five points in pixels"
IN_CSV = f"expected path,{','.join(POINT_COLUMNS)} with five points in pixels, and a score or none"
JSON = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*["}]')  # how an object of photos begins
LOOKED_AT = 4096  # bytes

Entries = Iterator[tuple[str, str, Any, list[Any]]]  # where it stands, photo, score, ten numbers


def read_landmarks(path: Path) -> dict[str, Faces]:
    """Return the face that a file gives for each photo, by the photo's path, as `printable`.

    JSON: `{"ann/1.jpg": [score, [[x, y], ...]], ...}`. CSV: a line for each photo, with the columns
    path, x1, y1, ... y5 and, if it has one, score; the first line may name the columns, in any
    order and among others. Without one, a line may end with its score, and blanks may separate, as
    in IJB's `ijbc_name_5pts_score.txt`. What `marginface data align` writes as alignment.csv is
    such a file: rows without points are passed over.

    The points are left eye, right eye, nose, left and right mouth corner, in pixels.

    Raises:
        MarginfaceError: no such file, neither JSON nor CSV, or an entry that is not as above.
    """
    entries = LANDMARKS.find(path).open
    kind, expected = ("JSON", IN_JSON) if entries is _json_entries else ("CSV", IN_CSV)
    found: dict[str, Faces] = {}
    try:
        for where, name, score, numbers in entries(path):
            checked = printable(_checked_name(where, name))
            if checked in found:
                raise MarginfaceError(f"{where}: a second entry for {checked!r}; remove one")
            found[checked] = _face(where, checked, score, numbers, expected)
    except OSError as error:
        raise MarginfaceError(f"cannot read {path}: {error.strerror or error}") from error
    except MarginfaceError:
        raise
    except (RecursionError, ValueError) as error:  # such as a number too long
        raise MarginfaceError(f"{path} is not a {kind} file: {error}") from error
    if not found:
        raise MarginfaceError(f"landmarks {path} have no entries; {expected}")
    return found


def _json_entries(path: Path) -> Entries:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise MarginfaceError(f"landmarks {path} have two entries for {twice!r}")
        return values

    content = path.read_bytes()
    text = content.decode(json.detect_encoding(content), errors="surrogateescape")
    values = json.loads(text, object_pairs_hook=unique)
    if not isinstance(values, dict):
        raise MarginfaceError(f"landmarks {path} are no JSON object of photos: {{path: ...}}")
    where = f"landmarks {path}"
    for name, entry in values.items():
        try:
            score, points = entry
            numbers = [number for x, y in points for number in (x, y)]
        except (TypeError, ValueError):
            raise _bad_entry(where, name, IN_JSON) from None
        yield where, name, score, numbers


def _csv_entries(path: Path) -> Entries:
    rows = read_rows(path, IN_CSV, heading=COLUMNS)
    first = next(rows)
    columns = find_columns(f"landmarks {path}", first.fields, COLUMNS)
    if "path" in columns:
        missing = [name for name in POINT_COLUMNS if name not in columns]
        if missing:
            raise MarginfaceError(f"landmarks {path} have no column {missing[0]!r}")
        rows, names = by_name(rows, columns, len(first.fields)), tuple(columns)
    else:
        rows, names = chain([first], rows), ("path", *POINT_COLUMNS, "score")
        names = names[: max(len(first.fields), FEWEST)]  # each line has a score, or none has
    for row in rows:
        values = dict(zip(names, row.fields, strict=False))
        numbers = [values.get(name) for name in POINT_COLUMNS]
        if len(row.fields) != len(names):
            raise _bad_entry(row.where, row.fields[0], IN_CSV)
        if any(numbers):
            yield row.where, values["path"], values.get("score") or math.nan, numbers


def _checked_name(where: str, name: str) -> str:
    """Return a photo's path without detours; refuse one that leads out of the folder of photos."""
    clean = posixpath.normpath(name)
    if not name or clean.startswith(("/", "..")) or "\0" in name:
        raise MarginfaceError(
            f"{where}: photo {name!r}, expected a path inside the folder of photos"
        )
    return clean


def _face(where: str, name: str, score: Any, numbers: list[Any], expected: str) -> Faces:
    try:
        values = np.array([float(number) for number in numbers])
        score = float(score)
    except (TypeError, ValueError, OverflowError):
        raise _bad_entry(where, name, expected) from None
    if len(values) != len(POINT_COLUMNS) or not (np.abs(values) <= FARTHEST).all():
        raise _bad_entry(where, name, expected)
    points = values.reshape(5, 2)
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return Faces(np.array([score]), box[None], points[None])


def _bad_entry(where: str, name: str, expected: str) -> MarginfaceError:
    return MarginfaceError(f"{where}: entry {name!r}, {expected}")


def _is_json(path: Path) -> bool:
    return JSON.match(_head(path)) is not None


def _is_csv(path: Path) -> bool:
    """Return whether a file begins with a line of a path and five points."""
    lines = _head(path).decode(errors="replace").splitlines()
    line = next((line for line in lines if not line.startswith("#")), "")
    fields = max(len(split_fields(line, separator)) for separator in (None, ";"))
    return fields >= FEWEST and not _is_json(path)


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(LOOKED_AT)


LANDMARKS: Formats[Callable[[Path], Entries]] = Formats()
LANDMARKS.register("a JSON file of landmarks", _json_entries, ".json", recognises=_is_json)
LANDMARKS.register("a CSV file of landmarks", _csv_entries, ".csv", recognises=_is_csv)
