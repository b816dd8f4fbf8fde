"""CFP's protocol: Protocol/Split/FP (frontal against profile) or FF, a folder for each fold.

Split/FP/01/same.txt and diff.txt hold lines `i,j`: numbers of images in Protocol/Pair_list_F.txt
and Pair_list_P.txt (FF: both in the first), whose lines are `number path`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from marginface.data.lines import numbered_lines
from marginface.data.lookup import ImageNames
from marginface.data.opening import open_by_name
from marginface.data.rows import Row, read_rows, whole_number
from marginface.data.verification.pair_lists import find_image, listed_pairs
from marginface.data.verification.pairs import (
    PAIR_LIST,
    Pair,
    Pairs,
    is_number,
)
from marginface.errors import MarginfaceError

FRONTAL, PROFILE = "Pair_list_F.txt", "Pair_list_P.txt"
LISTS = {"FF": (FRONTAL, FRONTAL), "FP": (FRONTAL, PROFILE)}
KEPT_PARTS = 3  # of ../Data/Images/001/frontal/01.jpg: what a folder of aligned copies keeps


def is_cfp(path: Path) -> bool:
    """Return whether a folder has the name of one of the protocols."""
    return path.is_dir() and path.name in LISTS


def read_cfp(
    split: str | Path, images_root: str | Path | None = None, *, skip_bad: bool = False
) -> Pairs:
    """Read one of CFP's two protocols with its folds.

    Args:
        split: the folder Protocol/Split/FP or Protocol/Split/FF.
        images_root: the folder or file that holds 001/frontal/01.jpg and so on; Data/Images beside
            Protocol for None.
        skip_bad: leave out pairs with missing or broken images, counted by fold; see `without_bad`.

    Raises:
        MarginfaceError: with the file and line: malformed, a number that is not listed, a missing
            image; or the folds differ in size.
    """
    split = Path(split)
    if split.name not in LISTS:
        raise MarginfaceError(
            f"{split} is a folder, expected a file of pairs or CFP's Protocol/Split/FP or FF"
        )
    protocol = split.absolute().parents[1]
    root = Path(images_root or protocol.parent / "Data" / "Images")
    source, image_names = open_by_name(root)
    images = ImageNames(image_names)
    folds = sorted(path for path in split.iterdir() if path.is_dir() and is_number(path.name))
    if not folds:
        raise MarginfaceError(f"{split} has no folders 01, 02, ...; restore them")
    first, second = (_numbered_images(protocol / name) for name in LISTS[split.name])
    pairs: list[Pair] = []
    sizes = []
    for fold in folds:
        before = len(pairs)
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for row in read_rows(fold / name, PAIR_LIST):
                one, other = _two_numbers(row)
                pairs.append(
                    (
                        _image(row.where, one, first, images, root, skip_bad),
                        _image(row.where, other, second, images, root, skip_bad),
                        same,
                    )
                )
        sizes.append(len(pairs) - before)
    if len(set(sizes)) > 1:
        raise MarginfaceError(f"{split}: folds have {sizes} pairs, expected equally many")
    fold_of = np.repeat(np.arange(len(sizes)), sizes)
    name = f"cfp_{split.name.lower()}"
    return listed_pairs(source, pairs, fold_of, name, skip_bad=skip_bad)


def _numbered_images(path: Path) -> dict[int, str]:
    """Return the images of a list by their numbers, as their last parts."""
    images = {}
    for number, line in numbered_lines(path, "a list of images"):
        fields = line.split(maxsplit=1)
        if len(fields) != 2 or not is_number(fields[0]):
            shown = repr(line.strip()[:80])
            raise MarginfaceError(f"{path}:{number}: expected 'number path', got {shown}")
        parts = PurePosixPath(fields[1].strip().replace("\\", "/")).parts[-KEPT_PARTS:]
        images[int(fields[0])] = "/".join(parts)
    return images


def _two_numbers(row: Row) -> tuple[int, int]:
    numbers = [whole_number(field) for field in row.fields]
    match numbers:
        case [int(one), int(other)]:
            return one, other
    raise MarginfaceError(f"{row.where}: expected 'i,j', two whole numbers, got {row.shown}")


def _image(
    where: str,
    number: int,
    listed: dict[int, str],
    images: ImageNames,
    root: Path,
    keep_missing: bool,
) -> str:
    if number not in listed:
        raise MarginfaceError(f"{where}: image {number} is not in the list of images")
    return find_image(where, listed[number], images, root, keep_missing)
