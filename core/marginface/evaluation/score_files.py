"""The score of every pair in a Parquet file, for reports and for one's own analysis.

Columns: first, second (names of the images), same (bool), score (float64, cosine), first_norm,
second_norm (float32, lengths of the compared embeddings), fold (int32, from 0). The schema's
metadata says under `marginface.measured_with`, as JSON, what they were measured with.
"""

from __future__ import annotations

import json
from pathlib import Path

from marginface.atomic import replacing
from marginface.data.verification.pairs import Pairs
from marginface.evaluation.evaluate import PairScores
from marginface.evaluation.measured_with import KEY, MeasuredWith
from marginface.extras import needs
from marginface.text import as_utf8

with needs("data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

SCORES_NAME = "scores.parquet"
SCHEMA = pa.schema(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("same", pa.bool_()),
        ("score", pa.float64()),
        ("first_norm", pa.float32()),
        ("second_norm", pa.float32()),
        ("fold", pa.int32()),
    ]
)


def write_scores(
    path: Path, pairs: Pairs, pair_scores: PairScores, measured_with: MeasuredWith | None = None
) -> None:
    """Write one row a pair, in the order of the pairs, whole or not at all."""
    columns = [
        [as_utf8(name) for name in pairs.first],
        [as_utf8(name) for name in pairs.second],
        pairs.same,
        pair_scores.scores,
        pair_scores.first_norm,
        pair_scores.second_norm,
        pairs.fold.astype("int32"),
    ]
    metadata = {} if measured_with is None else {KEY: json.dumps(measured_with.to_json())}
    # Files that Python opens, here and elsewhere: Arrow takes paths in UTF-8 alone.
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.table(columns, schema=SCHEMA.with_metadata(metadata)), file)
