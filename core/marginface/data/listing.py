"""Any set of images, to convert or to look at; nothing is decoded, so broken ones are in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.folder import ImageFolder, Progress, list_image_folder
from marginface.data.formats.record_images import RecordImages
from marginface.data.lookup import require_one_form, same_form
from marginface.data.opening import open_records
from marginface.data.sources import LabelledImages
from marginface.data.verification.opening import open_verification
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError

VERIFICATION = (".bin", ".zip")
EXPECTED = "expected a folder of images, .rec, .tfrecord, or a verification set (.bin, .zip)"


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a set, of whatever kind.

    Attributes:
        root: the folder or file.
        count: how many images there are; `name(i)` and `encoded(i)` take 0 .. count - 1.
        labels: int64 [count], the number of each image's identity, or None where there are none.
        identities: their names, or None where a name does not tell who it is: in a .rec without a
            list of names they are numbers, which mean somebody else in another set.
        empty: identities without images.
        others: files in a folder that are no images, as (name, reason).
        pairs: those of a verification set.
    """

    root: Path
    count: int
    name: Callable[[int], str]
    encoded: Callable[[int], bytes]
    labels: NDArray[np.int64] | None
    identities: tuple[str, ...] | None
    empty: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    pairs: Pairs | None = None


def open_set(path: Path, on_progress: Progress | None = None) -> LabelledImages | Pairs:
    """Open a folder, a record file or a verification set by its name's ending.

    Raises:
        MarginfaceError: there is no such file, or it is of another kind, or damaged.
    """
    name = path.name.lower()
    if not path.exists():
        raise MarginfaceError(f"no such file or folder: {path}; {EXPECTED}")
    if path.is_file() and not name.endswith(VERIFICATION):
        if name.endswith(".rec") or ".tfrecord" in name:
            return open_records(path, on_progress=on_progress)
        raise MarginfaceError(f"{path} is a file of another kind; {EXPECTED}")
    if path.is_file():
        return open_verification(path)
    return list_image_folder(path)


def open_training_set(path: Path, on_progress: Progress | None = None) -> LabelledImages:
    """Open a folder or a record file; see `open_set`. One name in two Unicode forms is refused."""
    found = open_set(path, on_progress)
    if isinstance(found, Pairs):
        raise MarginfaceError(
            f"{path} is a verification set; expected a folder of images, .rec or .tfrecord"
        )
    require_one_form(found.identities, path)
    return found


def listing(found: LabelledImages | Pairs) -> Listing:
    """List the images of a set, each once."""
    if isinstance(found, Pairs):
        return _of_pairs(found)
    numbered = isinstance(found, RecordImages) and found.numbered
    return Listing(
        found.root,
        len(found),
        found.name,
        found.encoded,
        found.labels,
        None if numbered else found.identities,
        found.empty if isinstance(found, ImageFolder) else (),
        found.others if isinstance(found, ImageFolder) else (),
    )


def _of_pairs(pairs: Pairs) -> Listing:
    """List a verification set; its identities are the first folders in names such as ann/1.jpg."""
    names = sorted({*pairs.first, *pairs.second})
    images = pairs.images
    labels = identities = None
    if all("/" in name for name in names):
        people = [same_form(name.partition("/")[0]) for name in names]
        found, labels = np.unique(people, return_inverse=True)
        labels, identities = labels.astype(np.int64), tuple(map(str, found))
    return Listing(
        images.root,
        len(names),
        names.__getitem__,
        lambda index: images.encoded(names[index]),
        labels,
        identities,
        pairs=pairs,
    )
