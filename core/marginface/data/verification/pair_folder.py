"""Writing a verification set as a folder of images with the list of its pairs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from marginface.atomic import new_folder
from marginface.data.lookup import ImageNames, same_form
from marginface.data.names import inner_path, listed
from marginface.data.packing.encoding import with_extension
from marginface.data.verification.folds import contiguous_folds, usual_folds
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.outputs import put_folder

LIST = "pairs.txt"
LFW_NAME = re.compile(r"([^/\\\s](?:[^/\\\t\n]*[^/\\\s])?)/\1_([0-9]{4}|[1-9][0-9]{4,8})\.\w+")


def write_pair_folder(target: Path, pairs: Pairs) -> None:
    """Write a new folder of the images under their names, and in it `pairs.txt`.

    Raises:
        MarginfaceError: an image cannot be read, a name does not do for a file, or no list can tell
            the folds; nothing is written then.
    """
    renamed = {}
    with new_folder(target, put_folder) as partial:
        for name in sorted({*pairs.first, *pairs.second}):
            encoded = pairs.images.encoded(name)
            renamed[name] = with_extension(name, encoded)
            path = inner_path(partial, renamed[name])
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.write(encoded)
            except (FileExistsError, NotADirectoryError) as error:
                raise MarginfaceError(
                    f"{pairs.images.root}: another image is where {renamed[name]} would be; "
                    "rename one"
                ) from error
        first, second = (
            tuple(map(renamed.__getitem__, names)) for names in (pairs.first, pairs.second)
        )
        written = Pairs(pairs.images, first, second, pairs.same, pairs.fold)
        text = pair_list(written, renamed.values())
        (partial / LIST).write_bytes(text.encode())


def pair_list(pairs: Pairs, names: Iterable[str]) -> str:
    """Return pairs as text: in LFW's form where names and folds fit it, else path, path and 1 or 0.

    Args:
        pairs: what is written.
        names: of all images that will be in the folder: the list means its own alone.

    Raises:
        MarginfaceError: neither can tell the folds, or a name.
    """
    images = ImageNames(names)
    written = {name: _listed(name, images, pairs) for name in {*pairs.first, *pairs.second}}
    same = pairs.same.tolist()
    lines = [
        _lfw_line(one, other, alike, images)
        for one, other, alike in zip(pairs.first, pairs.second, same, strict=True)
    ]
    header = _lfw_header(pairs)
    if header is not None and None not in lines:
        return "".join(f"{line}\n" for line in [header, *lines])
    if (pairs.fold != usual_folds(pairs.same)).any():
        raise MarginfaceError(
            f"{pairs.images.root} has folds that no list of its pairs can tell ({pairs.folds}); "
            "keep it as .zip"
        )
    rows = zip(pairs.first, pairs.second, same, strict=True)
    return "".join(
        f"{written[one]}\t{written[other]}\t{int(alike)}\n" for one, other, alike in rows
    )


def _listed(name: str, images: ImageNames, pairs: Pairs) -> str:
    """Return a name as the list has it; raise if reading that would give another image."""
    text = listed(name)
    if not images.means(text, name):
        raise MarginfaceError(
            f"{pairs.images.root}: a list of pairs would have {name[:80]!a} as {text[:80]}, which "
            "is another image's name; rename one of them"
        )
    return text


def _lfw_line(first: str, second: str, same: bool, images: ImageNames) -> str | None:
    """Return `name i j` or `name1 i name2 j`, or None for images that it would not mean."""
    one, other = (LFW_NAME.fullmatch(listed(name)) for name in (first, second))
    if one is None or other is None or (same_form(one[1]) == same_form(other[1])) != same:
        return None
    if same and one[1] != other[1]:
        return None
    for image, match in ((first, one), (second, other)):
        if not images.means(f"{match[1]}/{match[1]}_{match[2]}", image):
            return None
    begin = f"{one[1]}\t{int(one[2])}\t"
    return begin + (f"{int(other[2])}" if same else f"{other[1]}\t{int(other[2])}")


def _lfw_header(pairs: Pairs) -> str | None:
    """Return the first line, or None where same and different pairs are not as many."""
    total, folds = len(pairs), pairs.folds
    size = total // folds // 2
    in_order = size * folds * 2 == total and (pairs.fold == contiguous_folds(total, folds)).all()
    balanced = np.bincount(pairs.fold[pairs.same], minlength=folds) == size
    if folds > 1 and in_order and balanced.all():
        return f"{folds}\t{size}"
    if pairs.same.sum() * 2 == total and (pairs.fold == usual_folds(pairs.same)).all():
        return f"{total // 2}"
    return None
