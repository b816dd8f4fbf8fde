"""Lists of pairs beside a folder of images, by their form: LFW's, CALFW's and CPLFW's, AgeDB's.

LFW           FOLDS N, then `name i j` and `name1 i name2 j` (see `read_pairs`), or these alone
CALFW, CPLFW  two lines for a pair, `image label`: 0 for two persons, anything above for one
AgeDB-30      `image1 image2 label`, 1 for one person, 0 or -1 for two; commas or blanks between;
              a fourth number in every line is the pair's fold

CALFW numbers the folds of its same pairs, from 1; its different ones are in contiguous parts then.
The others have no folds: `usual_folds` are formed. A heading line may come first, whose names tell
the columns where it says which is the label; see `rows` for what else tables in text may be. CFP's
protocol is a folder: `read_cfp`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.lines import how_to_convert
from marginface.data.lookup import ImageNames
from marginface.data.opening import open_by_name
from marginface.data.rows import (
    Row,
    is_image,
    plain_name,
    read_rows,
    truth,
    usual_length,
    whole_number,
    without_numbers,
)
from marginface.data.sources import ImageSource
from marginface.data.verification.folds import contiguous_folds, usual_folds
from marginface.data.verification.leaving_out import without_bad
from marginface.data.verification.pair_headings import WORDS, check_unnamed, named_fields
from marginface.data.verification.pairs import (
    LEAVE_OUT,
    MISSING,
    PAIR_LIST,
    Pair,
    Pairs,
    is_counts,
    is_number,
    lfw_fields,
    lfw_pair,
    read_pairs,
)
from marginface.errors import MarginfaceError
from marginface.labels import short_name
from marginface.text import in_quotes

Labelled = tuple[str, str, int]  # two images and a label: 0 for two persons

LOOKED_AT = 4096  # bytes of a file that tell whether it is text
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
FORMS = (
    "expected LFW's 'FOLDS N' and 'name i j', CALFW's two lines 'image label', or 'image1 image2 "
    "label', with or without a fold; a first line with such names may tell these among others"
)


def is_text(path: Path) -> bool:
    """Return whether a file begins with text: no control characters but tabs and line breaks.

    UTF-16 is text, too, which reading refuses.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(LOOKED_AT)
    utf_16 = begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return utf_16 or CONTROL.search(begin) is None


def read_pair_list(path: str | Path, images_root: str | Path, *, skip_bad: bool = False) -> Pairs:
    """Read a list of pairs in any of the forms above, which its first line tells.

    Images are paths under the folder `images_root`, or names in a file of labelled images, found as
    `ImageNames` says. With `skip_bad`, pairs with missing or broken images are left out and counted
    by fold; see `without_bad`.

    Raises:
        MarginfaceError: with the file and line: malformed, or an image that is missing
            or that two are meant by.
    """
    path, root = Path(path), Path(images_root)
    if is_counts(next(read_rows(path, PAIR_LIST))):
        counted = read_pairs(path, root, keep_missing=skip_bad)
        return without_bad(counted) if skip_bad else counted
    source, image_names = open_by_name(root)
    images, name = ImageNames(image_names), short_name(path)
    hashed = [image for image in image_names if image.startswith("#")]  # that are no comments
    rows = list(
        read_rows(
            path,
            PAIR_LIST,
            heading=WORDS,
            is_name=lambda field: field != "#" and any(image.startswith(field) for image in hashed),
        )
    )
    heading, rows = (rows[0], rows[1:]) if _is_heading(rows, images) else (None, rows)
    if not _is_lfw(rows, images):
        heading, rows = without_numbers(heading, rows, lambda field: _names_image(field, images))
    named = named_fields(heading, rows) if heading else None
    if named is None and _is_lfw(rows, images):
        pairs = [lfw_pair(row, images, root, skip_bad) for row in rows]
        fold = usual_folds(np.array([same for _, _, same in pairs]))
        return listed_pairs(source, pairs, fold, name, skip_bad=skip_bad)
    if named is None and heading:
        check_unnamed(heading)
    pairs, fold = _labelled_pairs(path, named or rows, images, root, skip_bad)
    return listed_pairs(source, pairs, fold, name, skip_bad=skip_bad)


def _labelled_pairs(
    path: Path, rows: list[Row], images: ImageNames, root: Path, skip_bad: bool
) -> tuple[list[Pair], NDArray[np.int64]]:
    """Return the pairs of rows in CALFW's or AgeDB's form, and their folds."""
    columns = usual_length(rows)
    if columns not in (2, 3, 4):
        raise MarginfaceError(f"{rows[0].where}: {FORMS}, got {rows[0].shown}")
    named = _two_lines_a_pair(path, rows) if columns == 2 else _one_line_a_pair(rows, columns)
    pairs, labels = [], []
    for where, (first, second, label) in named:
        one, other = (find_image(where, name, images, root, skip_bad) for name in (first, second))
        pairs.append((one, other, label > 0))
        labels.append(label)
    numbers = np.array(labels)
    return pairs, _own_folds(numbers, rows) if columns == 4 else _folds(numbers)


def _is_heading(rows: list[Row], images: ImageNames) -> bool:
    """Return whether the first line names columns: it has neither a number nor an image."""
    if len(rows) < 2:
        return False
    names, fields = rows[0].fields, rows[1].fields
    names = names[1:] if not names[0] else names
    if names == [str(number) for number in range(len(names))]:  # pandas' own names
        return any(is_image(field) or "/" in field for field in fields)
    if any(map(is_number, names)):
        return False
    known = sum(plain_name(name) in WORDS for name in names) > 1
    labelled = any(is_number(field) or truth(field) is not None for field in fields)
    return (known or labelled) and not any(
        "/" in name or _names_image(name, images) for name in names
    )


def _names_image(name: str, images: ImageNames) -> bool:
    return is_image(name) or images.find(name) is not None


def _is_lfw(rows: list[Row], images: ImageNames) -> bool:
    """Return whether half of the lines or more are LFW's, and none names two images by number."""
    fitting = [row for row in rows if lfw_fields(row.fields)]
    if not fitting or 2 * len(fitting) < len(rows):
        return False
    columns = len(fitting[0].fields)
    if all(_is_agedb(row.fields, columns) for row in rows):
        return False
    return not any(all(map(images.find, row.fields[:2])) for row in fitting)


def _is_agedb(fields: list[str], columns: int) -> bool:
    labelled = len(fields) == columns and truth(fields[2]) is not None
    return labelled and all(whole_number(field) is not None for field in fields[3:])


def listed_pairs(
    images: ImageSource, pairs: list[Pair], fold: NDArray[np.int64], name: str, *, skip_bad: bool
) -> Pairs:
    """Return pairs of images of a set; with `skip_bad` those whose images can be read."""
    first, second, same = zip(*pairs, strict=True)
    listed = Pairs(images, first, second, np.array(same, np.bool_), fold, name)
    return without_bad(listed) if skip_bad else listed


def _folds(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each pair by its label: 0 of two persons, else the fold where they differ.

    Labels of one pair each, or more of them than there are pairs of two persons, are no folds.

    >>> _folds(np.array([1, 2, 2, 0, 0]))
    array([0, 1, 1, 0, 1])
    """
    same = labels > 0
    numbers, sizes = np.unique(labels[same], return_counts=True)
    if not 2 <= len(numbers) <= (~same).sum() or sizes.max() == 1:
        return usual_folds(same)
    fold = np.searchsorted(numbers, labels)
    fold[~same] = contiguous_folds(int((~same).sum()), len(numbers))
    return fold


def _own_folds(labels: NDArray[np.int64], rows: list[Row]) -> NDArray[np.int64]:
    """Return the fold of each pair, from 0, by the fourth field of its line; one fold is none."""
    _, fold = np.unique([whole_number(row.fields[3]) for row in rows], return_inverse=True)
    return fold.astype(np.int64) if fold.any() else usual_folds(labels > 0)


def find_image(where: str, name: str, images: ImageNames, root: Path, keep_missing: bool) -> str:
    """Return the image that a list names; only what is in the set can be found, else `MISSING`."""
    image = images.find(name, f"{where}: ")
    if image is None and not keep_missing:
        raise MarginfaceError(
            f"{where}: no image {in_quotes(name)} in {root} (jpg, png, ...), where there is "
            f"{in_quotes(images.example)}; add it, name the images that the list's names are "
            f"relative to, {LEAVE_OUT}{how_to_convert(name, where)}"
        )
    return image or MISSING


def _one_line_a_pair(rows: list[Row], columns: int) -> Iterator[tuple[str, Labelled]]:
    expected = "image1 image2 label" + (" fold" if columns == 4 else "")
    for row in rows:
        fields = row.fields
        if not _is_agedb(fields, columns) or not all(fields[:2]):
            raise MarginfaceError(
                f"{row.where}: expected '{expected}' with label 1, 0 or -1 (or True and False, yes "
                "and no, same and different) and tabs, commas or quotes about names with blanks, "
                f"got {row.shown}"
            )
        yield row.where, (fields[0], fields[1], int(bool(truth(fields[2]))))


def _two_lines_a_pair(path: Path, rows: list[Row]) -> Iterator[tuple[str, Labelled]]:
    labels = [_count(row.fields[1]) if len(row.fields) == 2 else None for row in rows]
    for row, label in zip(rows, labels, strict=True):
        if label is None:
            raise MarginfaceError(
                f"{row.where}: expected 'image label' with a whole number, or 'image1 image2 "
                f"label', got {row.shown}"
            )
    if len(rows) % 2:
        raise MarginfaceError(
            f"{path} has {len(rows)} lines, expected two for each pair; restore the missing one"
        )
    for at in range(0, len(rows), 2):
        first, second = rows[at : at + 2]
        label = labels[at]
        if label is None or label != labels[at + 1]:
            raise MarginfaceError(
                f"{first.where}: the two lines of a pair have labels {first.fields[1]} and "
                f"{second.fields[1]}, expected the same; a line before may be missing"
            )
        yield first.where, (first.fields[0], second.fields[0], label)


def _count(text: str) -> int | None:
    """Return the label of a line of CALFW: 0 of two persons."""
    number, same = whole_number(text), truth(text)
    return int(same) if text.isalpha() and same is not None else number
