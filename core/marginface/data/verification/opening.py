"""Open any verification set: the path says, or the file itself, which kind it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from marginface import zips
from marginface.data.verification.bin_file import read_bin
from marginface.data.verification.cfp_lists import is_cfp, read_cfp
from marginface.data.verification.container import TABLE, read_container
from marginface.data.verification.leaving_out import without_bad
from marginface.data.verification.pair_lists import is_text, read_pair_list
from marginface.data.verification.pairs import Pairs, check_kinds
from marginface.errors import MarginfaceError
from marginface.formats import Formats, unknown
from marginface.labels import distinct_labels

# What a tuple or list of a list begins with, in protocols 2 and on behind their number and frame.
PICKLE = re.compile(rb"(\x80[\x02-\x05](\x95.{8})?)?[(\]]", re.DOTALL)
LOOKED_AT = 16  # bytes


def _is_bin(path: Path) -> bool:
    """Return whether a file begins as a pickle of images; one of text goes by its ending."""
    if not path.is_file() or is_text(path):
        return False
    with path.open("rb") as file:
        return PICKLE.match(file.read(LOOKED_AT)) is not None


# Sets that hold their images, and lists of pairs, whose images are in a folder: CFP knows its own.
VERIFICATION_SETS: Formats[Callable[[Path], Pairs]] = Formats(
    use="pairs to verify: give it as --val", returns=Pairs
)
VERIFICATION_SETS.register("a .bin of InsightFace", read_bin, ".bin", recognises=_is_bin)
VERIFICATION_SETS.register(
    "a .zip of images and pairs",
    read_container,
    ".zip",
    recognises=lambda path: TABLE in zips.names(path),
)
PAIR_LISTS: Formats[Callable[..., Pairs]] = Formats(returns=Pairs)  # of a path and its images


def open_verification(
    path: str | Path, images: str | Path | None = None, *, skip_bad: bool = False
) -> Pairs:
    """Return the pairs of a verification set.

    Args:
        path: InsightFace's .bin, a container of this library's, a list of pairs, or CFP's folder
            Protocol/Split/FP or FF.
        images: the folder or file of the images that a list names; CFP's own for None.
        skip_bad: leave out pairs with missing or broken images, counted by fold; see `without_bad`.

    Raises:
        MarginfaceError: it is none of these or damaged, or a list lacks its images.
    """
    path = Path(path)
    images = None if images is None else Path(images)
    if not path.exists():
        raise unknown(path, VERIFICATION_SETS, PAIR_LISTS)
    if (held := VERIFICATION_SETS.get(path)) is None:
        if (listed := PAIR_LISTS.get(path)) is None:
            raise unknown(path, VERIFICATION_SETS, PAIR_LISTS)
        if not listed.own:  # ours tell the pairs of a missing image, too
            return listed.open(path, images, skip_bad=skip_bad)
        opened = listed.open(path, images)
        return without_bad(opened) if skip_bad else opened
    if images is not None:
        raise MarginfaceError(f"{path} holds its images; leave the images {images} out")
    opened = held.open(path)
    return without_bad(opened) if skip_bad else opened


def open_all(
    sets: Sequence[Path], pairs: Path | None, images: Path | None, *, skip_bad: bool = False
) -> list[Pairs]:
    """Return several verification sets, each with a name of its own.

    Args:
        sets: of any kind.
        pairs: one more, a list of pairs.
        images: the folder or file of the images of those that hold none.

    Raises:
        MarginfaceError: as `open_verification`; one is given twice or has one kind of pair alone;
            the images are of no use.
    """
    paths = [*sets, *([] if pairs is None else [pairs])]
    holding = [path.exists() and VERIFICATION_SETS.get(path) is not None for path in paths]
    if images is not None and all(holding):
        raise MarginfaceError(f"every set holds its images; leave the images {images} out")
    opened = [
        open_verification(path, None if holds else images, skip_bad=skip_bad)
        for path, holds in zip(paths, holding, strict=True)
    ]
    for path, each in zip(paths, opened, strict=True):
        check_kinds(each.same, f"{path}: ")
    names = distinct_labels(paths, "verification set", [each.name for each in opened])
    return [replace(each, name=name) for each, name in zip(opened, names, strict=True)]


def _open_list(path: Path, images: Path | None, *, skip_bad: bool = False) -> Pairs:
    if images is None:
        raise MarginfaceError(
            f"{path} is a list of pairs and holds no images; give them, too (--images; in a "
            "configuration val_images)"
        )
    return read_pair_list(path, images, skip_bad=skip_bad)


PAIR_LISTS.register("a list of pairs", _open_list, recognises=is_text)
PAIR_LISTS.register("CFP's Protocol/Split/FP or FF", read_cfp, recognises=is_cfp)
