"""Candidate lists: the best subjects for each probe, as a Parquet file.

Columns: probe (name of the image), rank (int32, from 1), person (the subject at that rank), score
(float64, cosine, as thresholds are), truth (whom the list says that the probe shows, null where it
does not say), truth_rank (int32, the rank of that subject, null where the gallery has it not).
Names are as `as_utf8` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from marginface.atomic import replacing
from marginface.evaluation.identification import Searches
from marginface.extras import needs
from marginface.text import as_utf8

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

CANDIDATES_NAME = "candidates.parquet"
SCHEMA = pa.schema(
    [
        ("probe", pa.string()),
        ("rank", pa.int32()),
        ("person", pa.string()),
        ("score", pa.float64()),
        ("truth", pa.string()),
        ("truth_rank", pa.int32()),
    ]
)
PROBES_AT_ONCE = 65_536  # in a row group


def write_candidates(
    path: Path, probes: Sequence[str], truth: Sequence[str], searches: Searches
) -> None:
    """Write a row for each probe and each of its best subjects, whole or not at all."""
    top = searches.best.shape[1]
    people = np.array([as_utf8(str(name)) for name in searches.names], object)
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        pq.ParquetWriter(file, SCHEMA) as writer,
    ):
        for at in range(0, len(probes), PROBES_AT_ONCE):
            chunk = slice(at, at + PROBES_AT_ONCE)
            rank = np.repeat(searches.rank[chunk], top)
            columns = [
                np.repeat(np.array([*map(as_utf8, probes[chunk])], object), top),
                np.tile(np.arange(1, top + 1), len(probes[chunk])),
                people[searches.best[chunk].ravel()],
                searches.best_score[chunk].ravel().astype(np.float64),
                np.repeat(np.array([as_utf8(each) or None for each in truth[chunk]], object), top),
                pa.array(rank, pa.int32(), mask=rank == 0),
            ]
            writer.write_table(pa.table(columns, schema=SCHEMA))
