"""Faces as files of embeddings have them, photo by photo."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.embeddings.files import read_part
from marginface.embeddings.reader import read_embeddings, read_origins
from marginface.embeddings.reading import BROKEN
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.serving.faces import NO_CROP, Face
from marginface.serving.recogniser import UNKNOWN

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import types

Numbered = list[tuple[int, Face]]  # the number of a face in its photo


def stored_faces(path: Path) -> Iterator[tuple[str, Numbered]]:
    """Yield photos with their faces from what `marginface embed` wrote, of photos or of crops.

    Raises:
        MarginfaceError: as `read_embeddings`, or a column is not what `embed` writes.
    """
    read_origins(path)  # it may be no such file at all
    try:
        yield from _photos(path)
    except MarginfaceError:
        raise
    except (*BROKEN, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the system's, not the content's
        reason = (str(error) or repr(error)).partition("\n")[0][:120]
        raise MarginfaceError(
            f"{path} holds no faces that can be read ({reason}); it is damaged: embed the photos "
            "again"
        ) from error


def _photos(path: Path) -> Iterator[tuple[str, Numbered]]:
    rows = chain.from_iterable(
        zip(names, values, strict=True) for names, values in read_embeddings(path)
    )
    with path.open("rb") as file:
        there = pq.read_schema(file).names
    numbers = _column(path, there, "face", 1, 0)[:, 0].astype(np.int64)
    boxes = _column(path, there, "box", 4, np.nan)
    points = _column(path, there, "points", 10, np.nan).reshape(-1, 5, 2)
    scores = _column(path, there, "score", 1, 1)[:, 0]
    found = (
        (number, Face(name, box, places, float(score), UNKNOWN, NO_CROP, values))
        for (name, values), number, box, places, score in zip(
            rows, numbers.tolist(), boxes, points, scores, strict=True
        )
    )
    for photo, faces in groupby(found, lambda each: each[1].photo):
        yield photo, list(faces)


def _column(path: Path, there: list[str], name: str, width: int, instead: float) -> NDArray[Any]:
    """Return a column of numbers, or of lists of them, as [rows, width]."""
    column: Any = read_part(path, [name if name in there else "path"]).column(0)
    if name not in there:
        return np.full((len(column), width), instead, np.float32)
    flat = column.combine_chunks()
    lists = types.is_fixed_size_list(column.type) or types.is_list(column.type)
    if width > 1 and lists:
        flat = flat.flatten()
    numbers = types.is_int32 if name == "face" else types.is_floating
    if not numbers(flat.type) or flat.null_count or len(flat) != width * len(column):
        raise MarginfaceError(
            f"{path}: its column {name} ({column.type}) is not as marginface writes it; embed the "
            "photos again"
        )
    return np.asarray(flat).reshape(len(column), width)
