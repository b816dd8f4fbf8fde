"""IJB's published files: images of templates, detector's scores, pairs, galleries and probes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.rows import Known, Row, by_name, find_columns, first_of, read_rows, rows_of
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.regular import require_regular

with needs("data"):
    import pyarrow as pa
    import pyarrow.csv

BEGINNING = 1 << 16  # bytes of a pairs file that tell its form
BYTES_AT_ONCE = 1 << 22  # of a pairs file
MEDIA_LINE = "name template_id media_id"
SCORES_LINE = "name x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score"
PAIRS_LINE = "template_id template_id 1|0"
SUBJECTS_LINE = "TEMPLATE_ID,SUBJECT_ID,..."

# Columns, and what else they are called.
MEDIA: Known = {
    "name": ("image", "path", "file", "filename"),
    "templateid": ("template", "tid"),
    "mediaid": ("media", "mid", "sightingid"),
}
SCORES: Known = {"name": ("image", "path", "file", "filename"), "score": ("detectorscore",)}
SUBJECTS: Known = {"templateid": (), "subjectid": ()}

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TemplateMedia:
    """The images of each template: one row for each image of a template.

    Attributes:
        path: the file it comes from, for messages.
        names: of images, [rows].
        template, medium: ids, [rows]; images of a template with one medium are frames of a video.
    """

    path: Path
    names: tuple[str, ...]
    template: Ids
    medium: Ids


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """Some consecutive pairs of a file: template ids and whether they are the same, [pairs]."""

    first: Ids
    second: Ids
    same: NDArray[np.bool_]


def read_media(path: Path) -> TemplateMedia:
    """Read `ijbc_face_tid_mid.txt`: a line `name template_id media_id` for each image.

    Raises:
        MarginfaceError: with file and line: malformed, or an image twice in a template.
    """
    names: list[str] = []
    ids: list[tuple[int, int]] = []
    seen: set[tuple[str, int]] = set()
    for row in _listed(path, MEDIA, MEDIA_LINE):
        if len(row.fields) != 3:
            raise _malformed(row, MEDIA_LINE)
        name, template, medium = row.fields
        numbers = _id(row, template, MEDIA_LINE), _id(row, medium, MEDIA_LINE)
        if (name, numbers[0]) in seen:
            raise MarginfaceError(
                f"{row.where}: image {name} is in template {numbers[0]} already; remove one"
            )
        seen.add((name, numbers[0]))
        names.append(name)
        ids.append(numbers)
    columns = np.array(ids, np.int64)
    return TemplateMedia(path, tuple(names), columns[:, 0], columns[:, 1])


def read_detector_scores(path: Path) -> dict[str, float]:
    """Read `ijbc_name_5pts_score.txt`: a line of name, ten landmark numbers and score an image.

    Raises:
        MarginfaceError: with file and line: malformed, a score below 0, or an image twice.
    """
    scores: dict[str, float] = {}
    for row in _listed(path, SCORES, SCORES_LINE):
        if len(row.fields) not in (2, 12):
            raise _malformed(row, SCORES_LINE)
        name, score = row.fields[0], _number(row.fields[-1])
        if not 0 <= score < math.inf:
            raise MarginfaceError(
                f"{row.where}: score {row.fields[-1]!r} of {name}, expected 0 or more"
            )
        if name in scores:
            raise MarginfaceError(f"{row.where}: image {name} has a score already; remove one")
        scores[name] = score
    return scores


def read_template_pairs(path: Path) -> Iterator[TemplatePairs]:
    """Yield `ijbc_template_pair_label.txt`, lines `template_id template_id 1|0`, in chunks.

    A chunk has some 300,000 pairs, so that files of any length pass.

    Raises:
        MarginfaceError: unreadable, malformed or empty.
    """
    require_regular(path, f"expected lines '{PAIRS_LINE}'", piped=True)
    integer = pa.int64()
    try:
        # Arrow takes paths in UTF-8 alone.
        with BufferedReader(path.open("rb", buffering=0), BEGINNING) as file:
            first_row = _first_row(path, file.peek(BEGINNING))
            before = int(first_row.where.rpartition(":")[2]) - 1
            has_heading = not any(field.isdecimal() for field in first_row.fields)
            reader = pa.csv.open_csv(
                file,
                pa.csv.ReadOptions(
                    column_names=["first", "second", "same"],
                    block_size=BYTES_AT_ONCE,
                    skip_rows=before + has_heading,
                ),
                pa.csv.ParseOptions(
                    delimiter=next((each for each in "\t,;" if each in first_row.line), " "),
                    quote_char=False,
                ),
                pa.csv.ConvertOptions(
                    column_types={"first": integer, "second": integer, "same": integer},
                    null_values=[],
                ),
            )
            for batch in reader:
                first, second, label = (column.to_numpy() for column in batch.columns)
                if np.any((label != 0) & (label != 1)):
                    wrong = label[(label != 0) & (label != 1)][0]
                    raise MarginfaceError(
                        f"{path}: label {wrong}, expected 1 (same) or 0 (different)"
                    )
                yield TemplatePairs(first, second, label == 1)
    except OSError as error:
        raise MarginfaceError(f"cannot read {path}: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        reason = str(error).partition("\n")[0][:120]
        raise MarginfaceError(f"{path}: {reason}; expected lines '{PAIRS_LINE}'") from error


def read_subjects(path: Path) -> dict[int, int]:
    """Read the template ids and their subjects from a gallery's or the probes' CSV.

    Such as `ijbc_1N_gallery_G1.csv` and `ijbc_1N_probe_mixed.csv`: a header with TEMPLATE_ID and
    SUBJECT_ID, then a line for each image.

    Raises:
        MarginfaceError: with file and line: malformed, or a template of two subjects.
    """
    rows = read_rows(path, f"lines '{SUBJECTS_LINE}'", heading={"templateid", "subjectid"})
    heading = next(rows)
    columns = find_columns(str(path), heading.fields, SUBJECTS)
    if len(columns) < 2:
        raise MarginfaceError(
            f"{path} has the columns {', '.join(heading.fields)[:80]}; expected TEMPLATE_ID and "
            "SUBJECT_ID"
        )
    columns = {name: columns[name] for name in SUBJECTS}
    subjects: dict[int, int] = {}
    for row in by_name(rows, columns, len(heading.fields)):
        template, subject = (_id(row, field, SUBJECTS_LINE) for field in row.fields)
        if subjects.setdefault(template, subject) != subject:
            raise MarginfaceError(
                f"{row.where}: template {template} is of subject {subject} here and of "
                f"{subjects[template]} above; a template shows one subject"
            )
    if not subjects:
        raise MarginfaceError(f"{path} has a header alone; expected a line for each image")
    return subjects


def _first_row(path: Path, beginning: bytes) -> Row:
    """Return the first row of a pairs file, which is read once: a pipe can be."""
    text = beginning.decode("utf-8-sig", errors="surrogateescape")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise MarginfaceError(f"{path} is empty; expected lines '{PAIRS_LINE}'")
    return first_of(rows_of(path, iter(lines)), path, f"lines '{PAIRS_LINE}'")


def _listed(path: Path, known: Known, expected: str) -> Iterator[Row]:
    """Yield the lines of a list, the columns in the order of `known` where a heading names them."""
    rows = read_rows(path, f"lines '{expected}'", heading=known, piped=True)
    first = next(rows)
    columns = find_columns(str(path), first.fields, known)
    if len(columns) < len(known):
        return chain([first], rows)
    return by_name(rows, {name: columns[name] for name in known}, len(first.fields))


def _id(row: Row, text: str, expected: str) -> int:
    if not (text.isdecimal() and len(text) <= 18):
        raise _malformed(row, expected)
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _malformed(row: Row, expected: str) -> MarginfaceError:
    return MarginfaceError(f"{row.where}: expected '{expected}', got {row.shown}")
