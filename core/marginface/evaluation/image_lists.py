"""Lists of images with the person that each shows, for galleries and probes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.lookup import ImageNames, same_form
from marginface.data.opening import open_by_name
from marginface.data.rows import Known, Row, by_name, find_columns, is_image, read_rows
from marginface.errors import MarginfaceError
from marginface.evaluation.listed_images import find_embedded
from marginface.text import as_utf8, in_quotes

COLUMNS: Known = {
    "image": ["path", "filepath", "file", "filename", "img", "imagepath", "imagename", "name"],
    "subject": ["subjectid", "identity", "person", "label", "id", "class", "who"],
}
WORDS = {*COLUMNS, *(word for words in COLUMNS.values() for word in words)}


class NoUTF8Warning(UserWarning):
    """Warns of a subject's name that is no UTF-8."""


def read_subjects_of_images(
    path: Path, images: ImageNames | None = None, *, all_known: bool = True
) -> dict[str, str]:
    """Return the subject of each image that a set holds or a list names, in order.

    A list has a line for each image: its name, found as `ImageNames` says, or `name<TAB>subject`,
    or a table's row, where a heading names the columns image and subject or every line is
    `name.jpg,subject`. Without a subject, as in a set, it is the image's first folder, as in
    `ann/1.jpg`. A name that no image has stays as it is.

    Args:
        path: the list, or a folder or file of images.
        images: that have embeddings, of this list alone; None leaves all names as they are.
        all_known: refuse an image without a subject, which is '' otherwise.

    Raises:
        MarginfaceError: unreadable, empty, an image twice, an image without a subject, or a name
            that means two images.
    """
    subjects: dict[str, str] = {}
    named: dict[str, str] = {}
    for where, name, subject in _entries(path):
        image = name if images is None else find_embedded(name, images, where)
        folder, slash, _ = image.partition("/")
        subject = same_form(subject or (folder if slash else ""))
        if not name or (all_known and not subject):
            raise MarginfaceError(
                f"{where}: no subject; expected 'subject/image' or 'image<TAB>subject', got "
                f"{in_quotes(name)}"
            )
        if image in subjects:
            both = f"{in_quotes(named[image])} and {in_quotes(name)} are both image {image}"
            already = named[image] == name
            raise MarginfaceError(
                f"{where}: {f'image {name} is listed already' if already else both}; remove one"
            )
        subjects[image], named[image] = subject, name
    return subjects


def _entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield where each image is named, its name, and its subject or ''."""
    if (path.is_file() or path.is_dir()) and IMAGE_SETS.get(path):
        for name in open_by_name(path)[1]:
            yield f"{path}: {name}", as_utf8(name), ""
        return
    for where, name, subject in _listed(path):
        if as_utf8(subject) != subject:
            warnings.warn(
                f"{where}: the subject {in_quotes(subject)} is no UTF-8; it is another one than "
                "the same name in UTF-8",
                NoUTF8Warning,
                stacklevel=1,
            )
        yield where, name, subject


def _listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield a list's lines: `file:number`, image and subject, '' for none."""
    expected = f"a list of images, or a set of them: {', '.join(IMAGE_SETS.names)}"
    rows = list(read_rows(path, expected, heading=WORDS, piped=True))
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
