"""Verification pairs in the format of LFW's pairs.txt and pairsDevTest.txt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.lines import how_to_convert
from marginface.data.lookup import ImageNames, same_form
from marginface.data.opening import open_by_name
from marginface.data.rows import Row, read_rows, whole_number
from marginface.data.sources import ImageSource
from marginface.data.verification.folds import contiguous_folds, usual_folds
from marginface.errors import MarginfaceError
from marginface.labels import short_name
from marginface.text import in_quotes

Pair = tuple[str, str, bool]
PAIR_LIST = "a list of pairs"
MISSING = ""  # the name of an image that is not there, until its pairs are left out
LEAVE_OUT = "or leave out such pairs with --skip-bad"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images to compare.

    Attributes:
        images: where they are.
        first, second: their names there, [number of pairs].
        same: bool [number of pairs], whether both show the same person.
        fold: int64 [number of pairs], the number from 0 of the part that each belongs to, to
            cross-validate over: the file's own, or `usual_folds`.
        name: of the set, for tables.
        left_out: how many pairs were left out of each fold; () for none.
    """

    images: ImageSource
    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    name: str = "pairs"
    left_out: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.first)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1


def people_of(pairs: Pairs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the person of the first and of the second image of each pair.

    It is the folder; an image in none stands for a person of its own.
    """
    first, second = (
        tuple(name.rpartition("/")[0] or name for name in side)
        for side in (pairs.first, pairs.second)
    )
    return first, second


def check_kinds(same: NDArray[np.bool_], where: str = "") -> None:
    """Raise unless some pairs are of one person and some of two; the message begins with `where`.

    Args:
        same: [pairs].
        where: the set, for the message, with a colon and a blank.
    """
    if same.all() or not same.any():
        kind = "same" if same.any() else "different"
        raise MarginfaceError(
            f"{where}all {len(same):,} pairs are '{kind}' pairs; verification needs both same and "
            "different"
        )


def read_pairs(path: str | Path, images_root: str | Path, *, keep_missing: bool = False) -> Pairs:
    """Read a pairs file and find its images.

    The first line is `FOLDS N` or `N`: each fold has N pairs `name i j` of one person and N pairs
    `name1 i name2 j` of two. Fields are separated by tabs, or by spaces where a line has no tab.
    Image i of a person is `name/name_%04d` with an image's ending.

    Args:
        path: the pairs file.
        images_root: a folder, or a file of labelled images; see `open_by_name`.
        keep_missing: call an image that is missing `MISSING` instead of refusing it.

    Raises:
        MarginfaceError: with the file and line: malformed, an image that is missing or there with
            two endings, or counts that disagree with the first line.
    """
    path = Path(path)
    rows = list(read_rows(path, PAIR_LIST))
    folds, size = _counts(rows[0])
    source, image_names = open_by_name(Path(images_root))
    images = ImageNames(image_names)
    pairs = [lfw_pair(row, images, images_root, keep_missing) for row in rows[1:]]
    _check_counts(rows, folds, size, pairs)
    first, second, same = zip(*pairs, strict=True)
    truth = np.array(same, np.bool_)
    fold = usual_folds(truth) if folds == 1 else contiguous_folds(len(pairs), folds)
    return Pairs(source, first, second, truth, fold, short_name(path))


def is_number(text: str) -> bool:
    """Return whether a field is a whole number of at most nine digits."""
    return text.isdecimal() and len(text) <= 9


def is_counts(row: Row) -> bool:
    """Return whether a line tells LFW's folds and pairs of each."""
    return len(row.fields) <= 2 and all(map(is_number, row.fields))


def _counts(row: Row) -> tuple[int, int]:
    fields = row.fields
    if not is_counts(row) or not all(map(int, fields)):
        raise MarginfaceError(
            f"{row.where}: expected 'FOLDS N' or 'N' (positive whole numbers), got {row.shown}"
        )
    return (1, int(fields[0])) if len(fields) == 1 else (int(fields[0]), int(fields[1]))


def lfw_fields(fields: list[str]) -> tuple[str, str, str, str] | None:
    """Return the two names and numbers of a line in LFW's form, None of another line.

    >>> lfw_fields(["ann", "1", "2"]), lfw_fields(["ann", "1", "bo", "2"]), lfw_fields(["ann", "1"])
    (('ann', '1', 'ann', '2'), ('ann', '1', 'bo', '2'), None)
    """
    if len(fields) == 3:
        name, one, other = fields
        fits, full = True, (name, one, name, other)
    elif len(fields) == 4:
        full = (fields[0], fields[1], fields[2], fields[3])
        fits = same_form(fields[0]) != same_form(fields[2])
    else:
        return None
    numbers = whole_number(full[1]), whole_number(full[3])
    return full if fits and all(full) and None not in numbers else None


def lfw_pair(row: Row, images: ImageNames, root: str | Path, keep_missing: bool) -> Pair:
    """Return the pair of a line in LFW's form; raises as `read_pairs`."""
    # With blanks between fields, a name may have a comma.
    fields = lfw_fields(row.fields) or lfw_fields([] if "\t" in row.line else row.line.split())
    if fields is None:
        raise MarginfaceError(
            f"{row.where}: expected 'name i j' or 'name1 i name2 j' with two names and whole "
            f"numbers, got {row.shown}"
        )
    first, second = (
        _find(row.where, name, int(float(index)), images, root, keep_missing)
        for name, index in (fields[:2], fields[2:])
    )
    return first, second, fields[0] == fields[2]


def _find(
    where: str, name: str, index: int, images: ImageNames, root: str | Path, keep_missing: bool
) -> str:
    if "/" in name or "\\" in name or name in (".", ".."):
        raise MarginfaceError(
            f"{where}: '{name}' is a path, expected the plain name of a folder in {root}"
        )
    stem = f"{name}/{name}_{index:04d}"
    image = images.find(stem, f"{where}: ")
    if image is None and not keep_missing:
        raise MarginfaceError(
            f"{where}: no image {Path(root) / stem}.* (jpg, png, ...), where there is "
            f"{in_quotes(images.example)}; add it, {LEAVE_OUT}{how_to_convert(stem, where)}"
        )
    return image or MISSING


def _check_counts(rows: list[Row], folds: int, size: int, pairs: list[Pair]) -> None:
    header = rows[0].where
    if len(pairs) != 2 * folds * size:
        raise MarginfaceError(
            f"{header}: {folds} x ({size} same + {size} different) pairs announced, "
            f"{len(pairs)} found; correct that line or restore the missing ones"
        )
    for fold in range(folds):
        begin, end = 2 * fold * size, 2 * (fold + 1) * size
        same = sum(pair[2] for pair in pairs[begin:end])
        if same != size:
            raise MarginfaceError(
                f"{rows[1 + begin].where}: fold {fold + 1} begins here and has {same} same and "
                f"{2 * size - same} different pairs, expected {size} of each "
                f"(line {header.rpartition(':')[2]}); move or correct its pairs"
            )
