"""Headings of lists of pairs: which columns are the two images, the label and the fold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from marginface.data.rows import Known, Row, by_name, find_columns
from marginface.errors import MarginfaceError

STEMS = [
    *("path", "filepath", "imagepath", "file", "filename", "image", "img", "imagename"),
    *("imagefile", "photo", "picture", "face", "name", "sample", "id", "x"),
]
ENDS = (("1", "2"), ("a", "b"), ("0", "1"), ("left", "right"), ("first", "second"))
TWO_IMAGES = [
    *((stem + one, stem + other) for stem, (one, other) in product(STEMS, ENDS)),
    *((one + stem, other + stem) for stem, (one, other) in product(STEMS, ENDS)),
    *(("first", "second"), ("left", "right"), ("a", "b")),
]
LABELS = [
    *("labels", "same", "issame", "sameperson", "issameperson", "sameidentity", "match", "y"),
    *("ismatch", "matched", "target", "gt", "groundtruth", "truth", "genuine", "isgenuine"),
    *("pairlabel", "actual", "actualissame"),
]
FOLDS = ["foldid", "foldno", "foldnumber", "foldindex", "kfold"]
WORDS = {"label", "fold", *LABELS, *FOLDS, *STEMS, *(name for pair in TWO_IMAGES for name in pair)}
INVERTED = re.compile("diff|dist|impost|mismatch|unlike", re.IGNORECASE)  # 1 is of two persons


def named_fields(heading: Row, rows: list[Row]) -> list[Row] | None:
    """Return rows as `image1 image2 label`, a fold behind, or `image label`; None without a label.

    Raises:
        MarginfaceError: two columns may be the label, or the fold.
    """
    where, names = heading.where, heading.fields
    if "label" not in find_columns(where, names, {"label": LABELS}):
        return None
    for one, other in TWO_IMAGES:
        known: Known = {one: (), other: (), "label": LABELS, "fold": FOLDS}
        if {one, other} <= find_columns(where, names, known).keys():
            return list(_in_order(heading, rows, known))
    known = {"image": STEMS, "label": LABELS}
    if "image" not in find_columns(where, names, known):
        return None
    return list(_in_order(heading, rows, known))


def check_unnamed(heading: Row) -> None:
    """Raise where a heading names images and no label, or says that 1 is of two persons."""
    where, names = heading.where, heading.fields
    two = any(len(find_columns(where, names, {a: (), b: ()})) == 2 for a, b in TWO_IMAGES)
    if two or any(map(INVERTED.search, names)):
        raise MarginfaceError(
            f"{where}: the heading {heading.shown} names no column that is a label; call it "
            "'label', with 1 for pairs of one person and 0 for those of two"
        )


def _in_order(heading: Row, rows: list[Row], known: Known) -> Iterator[Row]:
    columns = find_columns(heading.where, heading.fields, known)
    places = {name: columns[name] for name in known if name in columns}
    return by_name(rows, places, len(heading.fields))
