"""Lists of images with the person that each shows, for galleries and probes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.lookup import same_form
from marginface.data.opening import open_by_name
from marginface.data.rows import Known, Row, by_name, find_columns, is_image, read_rows
from marginface.errors import MarginfaceError

COLUMNS: Known = {
    "image": ["path", "filepath", "file", "filename", "img", "imagepath", "imagename", "name"],
    "subject": ["subjectid", "identity", "person", "label", "id", "class", "who"],
}
WORDS = {*COLUMNS, *(word for words in COLUMNS.values() for word in words)}


def read_subjects_of_images(path: Path, *, all_known: bool = True) -> dict[str, str]:
    """Return the subject of each image that a set holds or a list names, in order.

    A list has a line for each image: its name, or `name<TAB>subject`, or a table's row, where a
    heading names the columns image and subject or every line is `name.jpg,subject`. Without a
    subject, as in a set, it is the name's first folder, as in `ann/1.jpg`.

    Args:
        path: the list, or a folder or file of images.
        all_known: refuse an image without a subject, which is '' otherwise.

    Raises:
        MarginfaceError: unreadable, empty, an image twice, or an image without a subject.
    """
    if path.exists() and IMAGE_SETS.get(path):
        lines = [(str(path / name), name, "") for name in open_by_name(path)[1]]
    else:
        lines = list(_listed(path))
    subjects: dict[str, str] = {}
    for where, name, subject in lines:
        folder, slash, _ = name.partition("/")
        subject = same_form(subject or (folder if slash else ""))
        if not name or (all_known and not subject):
            raise MarginfaceError(
                f"{where}: no subject; expected 'subject/image' or 'image<TAB>subject', got "
                f"{name[:80]!r}"
            )
        if name in subjects:
            raise MarginfaceError(f"{where}: image {name} is listed already; remove one")
        subjects[name] = subject
    return subjects


def _listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield a list's lines: `file:number`, image and subject, '' for none."""
    expected = f"a list of images, or a set of them: {', '.join(IMAGE_SETS.names)}"
    rows = list(read_rows(path, expected, heading=WORDS))
    heading = rows[0].fields
    columns = find_columns(str(path), heading, COLUMNS)
    if len(columns) == 2:
        places = {name: columns[name] for name in COLUMNS}
        rows = list(by_name(rows[1:], places, len(heading)))
    elif not all(map(_is_table_row, rows)):
        titled = len(heading) == len(columns) == 1 and len(rows) > 1
        for row in rows[titled:]:
            name, _, subject = row.line.partition("\t")
            yield row.where, name.strip(), subject.strip()
        return
    for row in rows:
        yield row.where, row.fields[0], row.fields[1]


def _is_table_row(row: Row) -> bool:
    """Return whether a line is an image and a subject, not a name with a separator in it."""
    match row.fields:
        case [image, subject]:
            return is_image(image) and not is_image(subject) and "/" not in subject
    return False
