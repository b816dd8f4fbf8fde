"""Lists of pairs beside a folder of images, by their form: LFW's, CALFW's and CPLFW's, AgeDB's.

LFW           FOLDS N, then `name i j` and `name1 i name2 j` (see `read_pairs`), or these alone
CALFW, CPLFW  two lines for a pair, `image label`: 0 for two persons, anything above for one
AgeDB-30      `image1 image2 label`, 1 for one person, 0 or -1 for two; commas or blanks between;
              a fourth number in every line is the pair's fold

CALFW numbers the folds of its same pairs, from 1; its different ones are in contiguous parts then.
The others have no folds: `usual_folds` are formed. Fields
may be quoted as in CSV, and a heading line may come first. CFP's protocol is a folder: `read_cfp`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.images import without_ending
from marginface.data.lines import how_to_convert, numbered_lines, split_fields
from marginface.data.lookup import ImageNames
from marginface.data.opening import open_by_name
from marginface.data.sources import ImageSource
from marginface.data.verification.folds import contiguous_folds, usual_folds
from marginface.data.verification.leaving_out import without_bad
from marginface.data.verification.pairs import (
    LEAVE_OUT,
    MISSING,
    PAIR_LIST,
    Pair,
    Pairs,
    is_number,
    lfw_fields,
    lfw_pair,
    quoted,
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
    "label', with or without a fold"
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
    lines = numbered_lines(path, PAIR_LIST)
    rows = [(f"{path}:{number}", split_fields(line)) for number, line in lines]
    if len(rows[0][1]) <= 2 and all(map(is_number, rows[0][1])):
        counted = read_pairs(path, root, keep_missing=skip_bad)
        return without_bad(counted) if skip_bad else counted
    source, image_names = open_by_name(root)
    images = ImageNames(image_names)
    if _is_heading(rows, images):
        rows = rows[1:]
    fields = rows[0][1]
    pairs: list[Pair] = []
    if _is_uncounted_lfw(rows):
        pairs = [lfw_pair(where, line, images, root, skip_bad) for where, line in rows]
        fold = usual_folds(np.array([same for _, _, same in pairs]))
        return listed_pairs(source, pairs, fold, short_name(path), skip_bad=skip_bad)
    if len(fields) == 2:
        named = _two_lines_a_pair(path, rows)
    elif len(fields) in (3, 4):
        named = _one_line_a_pair(rows, len(fields))
    else:
        raise MarginfaceError(f"{rows[0][0]}: {FORMS}, got {quoted(' '.join(fields))}")
    labels = []
    for where, (first, second, label) in named:
        one, other = (find_image(where, name, images, root, skip_bad) for name in (first, second))
        pairs.append((one, other, label > 0))
        labels.append(label)
    fold = _own_folds(np.array(labels), rows) if len(fields) == 4 else _folds(np.array(labels))
    return listed_pairs(source, pairs, fold, short_name(path), skip_bad=skip_bad)


def _is_heading(rows: list[tuple[str, list[str]]], images: ImageNames) -> bool:
    """Return whether the first line names columns: it has neither a number nor an image."""
    if len(rows) < 2 or any(map(is_number, rows[0][1])):
        return False
    (_, names), (_, fields) = rows[:2]
    numbers = any(map(is_number, fields))
    return numbers and not any("/" in name or _names_image(name, images) for name in names)


def _names_image(name: str, images: ImageNames) -> bool:
    return without_ending(name) != name or images.find(name) is not None


def _is_uncounted_lfw(rows: list[tuple[str, list[str]]]) -> bool:
    """Return whether a list is LFW's without its line of counts."""
    first = rows[0][1]
    return lfw_fields(first) is not None and not all(
        _is_agedb(fields, len(first)) for _, fields in rows
    )


def _is_agedb(fields: list[str], columns: int) -> bool:
    labelled = len(fields) == columns and fields[2] in ("1", "0", "-1")
    return labelled and all(map(is_number, fields[3:]))


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


def _own_folds(labels: NDArray[np.int64], rows: list[tuple[str, list[str]]]) -> NDArray[np.int64]:
    """Return the fold of each pair, from 0, by the fourth field of its line; one fold is none."""
    _, fold = np.unique([int(fields[3]) for _, fields in rows], return_inverse=True)
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


def _one_line_a_pair(
    rows: list[tuple[str, list[str]]], columns: int
) -> Iterator[tuple[str, Labelled]]:
    expected = "image1 image2 label" + (" fold" if columns == 4 else "")
    for where, fields in rows:
        if not _is_agedb(fields, columns):
            raise MarginfaceError(
                f"{where}: expected '{expected}' with label 1, 0 or -1, got "
                f"{quoted(' '.join(fields))}"
            )
        yield where, (fields[0], fields[1], int(fields[2] == "1"))


def _two_lines_a_pair(
    path: Path, rows: list[tuple[str, list[str]]]
) -> Iterator[tuple[str, Labelled]]:
    for where, fields in rows:
        if len(fields) != 2 or not re.fullmatch(r"[0-9]{1,9}", fields[1]):
            raise MarginfaceError(
                f"{where}: expected 'image label' with a whole number, got "
                f"{quoted(' '.join(fields))}"
            )
    if len(rows) % 2:
        raise MarginfaceError(
            f"{path} has {len(rows)} lines, expected two for each pair; restore the missing one"
        )
    for (where, first), (_, second) in zip(rows[::2], rows[1::2], strict=True):
        if first[1] != second[1]:
            raise MarginfaceError(
                f"{where}: the two lines of a pair have labels {first[1]} and {second[1]}, "
                "expected the same; a line before may be missing"
            )
        yield where, (first[0], second[0], int(first[1]))
