"""Tables in text as people and programs write them: separators, quotes, comments, headings."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from marginface.data.images import without_ending
from marginface.data.lines import numbered_lines
from marginface.errors import MarginfaceError
from marginface.text import in_quotes

QUOTED = re.compile(r'"(?:[^"]|"")*"')
WHOLE = re.compile(r"(\d{1,9})(?:\.0{1,9})?")  # a column of whole numbers that once had a gap
SEPARATORS = ("\t", ",")  # in any line
OF_A_FILE = (";", "|")  # where most lines have one; names may hold these
LOOKED_AT = 1000  # lines that tell the separator
SAME = frozenset(["1", "true", "yes", "same", "t", "y", "match", "genuine", "positive"])
DIFFERENT = frozenset(
    ["0", "-1", "false", "no", "different", "f", "n", "mismatch", "impostor", "negative"]
)

Known = Mapping[str, Collection[str]]  # what a column is called here, and by others


class Row(NamedTuple):
    """A line of a table: its `file:number`, and its fields up to the last that is not empty."""

    where: str
    line: str
    fields: list[str]

    @property
    def shown(self) -> str:
        """The beginning of the line, for a message."""
        return in_quotes(self.line.strip())


def is_image(name: str) -> bool:
    """Return whether a text ends as names of images do."""
    return without_ending(name) != name


def read_rows(
    path: Path,
    expected: str,
    *,
    heading: Collection[str] = (),
    is_name: Callable[[str], bool] | None = None,
    piped: bool = False,
) -> Iterator[Row]:
    """Yield the lines of a table that hold anything, split into fields; at least one.

    A line that begins with `#` is a comment, unless a name does.

    Args:
        path: the file.
        expected: what it ought to be, for messages.
        heading: words for columns, as `plain_name`; a line of them behind a `#` is yielded.
        is_name: whether a first field that begins with `#` is a name; None for those that end as
            images do, and of lines with as many fields as the one before.
        piped: take a pipe of the shell, which can be read once.

    Raises:
        MarginfaceError: as `numbered_lines`; nothing but comments.
    """
    rows = rows_of(path, numbered_lines(path, expected, piped=piped), heading, is_name)
    yield first_of(rows, path, expected)
    yield from rows


def first_of(rows: Iterator[Row], path: Path, expected: str) -> Row:
    """Return the first of a file's rows.

    Raises:
        MarginfaceError: there is none.
    """
    first = next(rows, None)
    if first is None:
        raise MarginfaceError(f"{path} has nothing but comments; expected {expected}")
    return first


def rows_of(
    path: Path,
    lines: Iterator[tuple[int, str]],
    heading: Collection[str] = (),
    is_name: Callable[[str], bool] | None = None,
) -> Iterator[Row]:
    """Yield the rows of numbered lines that are not blank, as `read_rows` does."""
    first = list(islice(lines, LOOKED_AT))
    separator = _separator([line for _, line in first])
    width = 0  # of the row before
    for number, line in chain(first, lines):
        fields = split_fields(line, separator)
        if fields and fields[0].startswith("#"):
            name = fields[0]
            if not (is_name(name) if is_name else is_image(name) or 1 < len(fields) == width):
                fields = split_fields(line.lstrip("# "), separator)
                if width or sum(plain_name(field) in heading for field in fields) < 2:
                    continue
        if fields:
            width = len(fields)
            yield Row(f"{path}:{number}", line, fields)


def split_fields(line: str, separator: str | None = None) -> list[str]:
    """Split a line at a separator, else at tabs, else at commas, else at blanks.

    Fields may be quoted as in CSV. Empty ones at the end are none: tables with shorter lines are
    written so.

    >>> split_fields("a.jpg, b.jpg,1"), split_fields("Al Bo.jpg\\t1"), split_fields("a.jpg  1")
    (['a.jpg', 'b.jpg', '1'], ['Al Bo.jpg', '1'], ['a.jpg', '1'])
    >>> split_fields('"a.jpg","Bo, Al.jpg",1'), split_fields("ann;1;2;;", ";")
    (['a.jpg', 'Bo, Al.jpg', '1'], ['ann', '1', '2'])
    """
    text = line.strip()
    separators = SEPARATORS if separator is None else (separator, *SEPARATORS)
    if '"' in text:
        outside = QUOTED.sub("", text)
        between = next((each for each in separators if each in outside), " ")
        with suppress(csv.Error):  # not CSV: the quotes are the names'
            (fields,) = csv.reader([text], delimiter=between, skipinitialspace=True, strict=True)
            return _without_empty_end([field.strip() for field in fields])
    for between in separators:
        if between in text:
            return _without_empty_end([field.strip() for field in text.split(between)])
    return text.split()


def _separator(lines: list[str]) -> str | None:
    """Return a separator that most lines have, and no other one behind it."""
    texts = [QUOTED.sub("", line).strip() for line in lines]
    for separator in OF_A_FILE:
        others = {*SEPARATORS, *OF_A_FILE} - {separator}
        having = [text for text in texts if separator in text]
        ends = [text.rstrip(separator).rpartition(separator)[2] for text in having]
        clean = sum(others.isdisjoint(end) for end in ends)
        if clean and 2 * clean >= len(texts):
            return separator
    return None


def _without_empty_end(fields: list[str]) -> list[str]:
    while fields and not fields[-1]:
        fields.pop()
    return fields


def without_numbers(
    heading: Row | None, rows: list[Row], is_name: Callable[[str], bool]
) -> tuple[Row | None, list[Row]]:
    """Return heading and rows without a first column that numbers the rows, as pandas writes it.

    Args:
        heading: may lack a name for that column.
        rows: the others.
        is_name: whether a first field is a name rather than a number.
    """
    numbers = [whole_number(row.fields[0]) for row in rows]
    numbered = numbers[0] in (0, 1) and numbers == [*range(numbers[0], numbers[0] + len(rows))]
    if heading is not None and plain_name(heading.fields[0]) in ("", "unnamed0", "index"):
        heading, numbered = heading._replace(fields=heading.fields[1:]), True
    elif heading is not None:
        numbered &= all(len(row.fields) == len(heading.fields) + 1 for row in rows)
    elif len(rows) == 1 or any(is_name(row.fields[0]) for row in rows):
        numbered = False
    if numbered:
        rows = [row._replace(fields=row.fields[1:]) for row in rows]
    return heading, rows


def plain_name(column: str) -> str:
    """Return a column's name in small letters and digits alone: Is_Same is issame."""
    return re.sub(r"[\W_]+", "", column.casefold())


def find_columns(where: str, heading: list[str], known: Known) -> dict[str, int]:
    """Return where the known columns stand in a heading; {} where it names none of them.

    >>> find_columns("", ["", "Path", "IS_SAME"], {"path": (), "same": ("issame",)})
    {'path': 1, 'same': 2}

    Raises:
        MarginfaceError: two columns are one.
    """
    columns: dict[str, int] = {}
    for number, text in enumerate(map(plain_name, heading)):
        for name, others in known.items():
            if text == plain_name(name) or text in others:
                if name in columns:
                    raise MarginfaceError(
                        f"{where}: the columns {heading[columns[name]]!r} and {heading[number]!r} "
                        f"may both be the {name}; rename or remove one"
                    )
                columns[name] = number
    return columns


def by_name(rows: Iterable[Row], columns: Mapping[str, int], width: int) -> Iterator[Row]:
    """Yield rows with the fields of some columns alone, in their order; '' for one that lacks.

    Args:
        rows: without the heading.
        columns: where they stand in the heading.
        width: of the heading, in fields. Where the first row has one more and begins with a number,
            rows begin with theirs, as R writes them.

    Raises:
        MarginfaceError: a row has more fields than the heading.
    """
    shift = None
    for row in rows:
        fields = row.fields
        if shift is None:
            shift = int(len(fields) == width + 1 and whole_number(fields[0]) is not None)
        if len(fields) > width + shift:
            raise MarginfaceError(
                f"{row.where}: {len(fields)} fields, and {width} in the heading, got {row.shown}; "
                "put quotes about names with separators"
            )
        places = [number + shift for number in columns.values()]
        yield row._replace(fields=[fields[at] if at < len(fields) else "" for at in places])


def truth(text: str) -> bool | None:
    """Return what a label says in whatever words, None for another text.

    >>> truth("True"), truth("1.0"), truth("different"), truth("-1"), truth("2")
    (True, True, False, False, None)
    """
    word = re.sub(r"\.0+$", "", text.casefold())
    return True if word in SAME else False if word in DIFFERENT else None


def whole_number(text: str) -> int | None:
    """Return a whole number of at most nine digits, with or without zeros behind a point.

    >>> whole_number("13"), whole_number("13.0"), whole_number("1.5"), whole_number("-1")
    (13, 13, None, None)
    """
    match = WHOLE.fullmatch(text)
    return int(match[1]) if match else None


def usual_length(rows: Iterable[Row]) -> int:
    """Return the number of fields that most rows have."""
    return Counter(len(row.fields) for row in rows).most_common(1)[0][0]
