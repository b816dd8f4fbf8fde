"""IJB's published files: images of templates, detector's scores, pairs, galleries and probes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.lines import numbered_lines
from marginface.errors import MarginfaceError
from marginface.extras import needs
from marginface.regular import require_regular

with needs("data"):
    import pyarrow as pa
    import pyarrow.csv

BYTES_AT_ONCE = 1 << 22  # of a pairs file
MEDIA_LINE = "name template_id media_id"
SCORES_LINE = "name x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score"
PAIRS_LINE = "template_id template_id 1|0"
SUBJECTS_LINE = "TEMPLATE_ID,SUBJECT_ID,..."

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
    for where, line in _lines(path, MEDIA_LINE):
        fields = line.split()
        if len(fields) != 3:
            raise _malformed(where, line, MEDIA_LINE)
        row = _id(where, line, fields[1], MEDIA_LINE), _id(where, line, fields[2], MEDIA_LINE)
        if (fields[0], row[0]) in seen:
            raise MarginfaceError(
                f"{where}: image {fields[0]} is in template {row[0]} already; remove one"
            )
        seen.add((fields[0], row[0]))
        names.append(fields[0])
        ids.append(row)
    columns = np.array(ids, np.int64)
    return TemplateMedia(path, tuple(names), columns[:, 0], columns[:, 1])


def read_detector_scores(path: Path) -> dict[str, float]:
    """Read `ijbc_name_5pts_score.txt`: a line of name, ten landmark numbers and score an image.

    Raises:
        MarginfaceError: with file and line: malformed, a score below 0, or an image twice.
    """
    scores: dict[str, float] = {}
    for where, line in _lines(path, SCORES_LINE):
        fields = line.split()
        if len(fields) != 12:
            raise _malformed(where, line, SCORES_LINE)
        name, score = fields[0], _number(fields[-1])
        if not 0 <= score < math.inf:
            raise MarginfaceError(f"{where}: score {fields[-1]!r} of {name}, expected 0 or more")
        if name in scores:
            raise MarginfaceError(f"{where}: image {name} has a score already; remove one")
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
        with path.open("rb") as file:  # Arrow takes paths in UTF-8 alone
            reader = pa.csv.open_csv(
                file,
                pa.csv.ReadOptions(
                    column_names=["first", "second", "same"], block_size=BYTES_AT_ONCE
                ),
                pa.csv.ParseOptions(delimiter=" ", quote_char=False),
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
    lines = _lines(path, SUBJECTS_LINE)
    header = [name.strip().upper() for name in _fields(*next(lines))]
    if not {"TEMPLATE_ID", "SUBJECT_ID"} <= set(header):
        raise MarginfaceError(
            f"{path} has the columns {', '.join(header)[:80]}; expected TEMPLATE_ID and SUBJECT_ID"
        )
    columns = header.index("TEMPLATE_ID"), header.index("SUBJECT_ID")
    subjects: dict[int, int] = {}
    for where, line in lines:
        fields = _fields(where, line)
        if len(fields) <= max(columns):
            raise _malformed(where, line, SUBJECTS_LINE)
        template, subject = (_id(where, line, fields[at], SUBJECTS_LINE) for at in columns)
        if subjects.setdefault(template, subject) != subject:
            raise MarginfaceError(
                f"{where}: template {template} is of subject {subject} here and of "
                f"{subjects[template]} above; a template shows one subject"
            )
    if not subjects:
        raise MarginfaceError(f"{path} has a header alone; expected a line for each image")
    return subjects


def _lines(path: Path, expected: str) -> Iterator[tuple[str, str]]:
    """Yield each line that is not blank with `file:number`; at least one."""
    for number, line in numbered_lines(path, f"lines '{expected}'", piped=True):
        yield f"{path}:{number}", line


def _fields(where: str, line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise MarginfaceError(f"{where}: {error}; expected '{SUBJECTS_LINE}'") from error


def _id(where: str, line: str, text: str, expected: str) -> int:
    text = text.strip()
    if not (text.isdecimal() and len(text) <= 18):
        raise _malformed(where, line, expected)
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _malformed(where: str, line: str, expected: str) -> MarginfaceError:
    return MarginfaceError(f"{where}: expected '{expected}', got {line.strip()[:80]!r}")
