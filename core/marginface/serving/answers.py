"""The files of a search: candidates for scripts, what was left out, the contact sheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from marginface.atomic import replacing
from marginface.extras import needs
from marginface.serving.gallery import Answer
from marginface.serving.identifying import LeftOut
from marginface.text import as_utf8, printable

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

CANDIDATES, TABLE, LEFT_OUT = "candidates.parquet", "candidates.csv", "left_out.csv"
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("face", pa.int32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("rank", pa.int32()),
        ("name", pa.string()),
        ("score", pa.float64()),
        ("decision", pa.string()),
        ("enrolled", pa.string()),
    ]
)
COLUMNS = ("photo", "face", "left", "top", "right", "bottom", *SCHEMA.names[3:])


def write_candidates(folder: Path, answers: Sequence[Answer]) -> None:
    """Write a row for each face and each of its candidates, as Parquet and as CSV.

    The decision stands in the row of the first candidate, whom it is about. In Parquet names are as
    `as_utf8` makes them, and what is unknown is null.
    """
    with replacing(folder / CANDIDATES) as temporary:
        columns = zip(*_rows(answers), strict=True)
        empty: list[tuple[object, ...]] = [()] * len(SCHEMA)
        pq.write_table(pa.table([*columns] or empty, schema=SCHEMA), temporary)

    def cells() -> Iterator[Sequence[object]]:
        for photo, face, box, rank, name, score, decision, enrolled in _rows(answers):
            corners = [""] * 4 if box is None else [f"{each:.1f}" for each in box]
            texts = [printable(each) for each in (name, f"{score:.4f}", decision or "", enrolled)]
            yield [printable(photo), face, *corners, rank, *texts]

    _write_csv(folder / TABLE, COLUMNS, cells())


def write_left_out(folder: Path, left_out: Sequence[LeftOut]) -> None:
    """Write which photos and faces were not used, and why."""
    rows = (
        [
            each.part,
            printable(each.photo),
            "" if each.face is None else each.face,
            printable(each.detail or each.reason),
        ]
        for each in left_out
    )
    _write_csv(folder / LEFT_OUT, ("part", "path", "face", "reason"), rows)


def write_pages(folder: Path, pages: Sequence[Image.Image]) -> list[str]:
    """Write a contact sheet's pages as PNG; return their names."""
    names = [f"contact_sheet{f'_{at}' if at > 1 else ''}.png" for at in range(1, len(pages) + 1)]
    for name, page in zip(names, pages, strict=True):
        with replacing(folder / name) as temporary:
            page.save(temporary, "PNG")
    return names


def _rows(
    answers: Iterable[Answer],
) -> Iterator[tuple[str, int, list[float] | None, int, str, float, str | None, str]]:
    for answer in answers:
        face = answer.face
        box = face.box.tolist() if np.isfinite(face.box).all() else None
        for rank, candidate in enumerate(answer.candidates, 1):
            yield (
                as_utf8(face.photo),
                answer.number,
                box,
                rank,
                as_utf8(candidate.name),
                candidate.score,
                answer.decision if rank == 1 and answer.decision else None,
                as_utf8(candidate.face.photo),
            )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
