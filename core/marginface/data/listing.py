"""Any set of images, to convert or to look at; nothing is decoded, so broken ones are in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.data.formats.folder import ImageFolder, open_folder
from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.registry import IMAGE_SETS
from marginface.data.image_files import folder_files, warn_of_others
from marginface.data.images import read_file
from marginface.data.lookup import require_one_form, same_form
from marginface.data.names import image_path
from marginface.data.opening import open_listed, require_rec
from marginface.data.sources import LabelledImages, OnProgress, silent
from marginface.data.verification.opening import VERIFICATION_SETS
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.formats import unknown


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


def open_set(
    path: Path, on_progress: OnProgress = silent, *, rebuild_index: bool = False
) -> LabelledImages | Pairs:
    """Open a set of images of any kind but lists of pairs, which hold none; nothing is decoded.

    Args:
        path: of the set.
        on_progress: called with (images seen, all images).
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.

    Raises:
        MarginfaceError: there is no such file, or it is of another kind, or damaged.
    """
    if path.exists():
        if IMAGE_SETS.get(path):
            return open_listed(path, rebuild_index=rebuild_index, on_progress=on_progress)
        if pairs := VERIFICATION_SETS.get(path):
            require_rec(path, rebuild_index=rebuild_index)
            return pairs.open(path)
    raise unknown(path, IMAGE_SETS, VERIFICATION_SETS)


def open_training_set(
    path: Path, on_progress: OnProgress = silent, *, rebuild_index: bool = False
) -> LabelledImages:
    """Open labelled images; see `open_set`. One name in two Unicode forms is refused."""
    if path.exists() and not IMAGE_SETS.get(path) and VERIFICATION_SETS.get(path):
        raise MarginfaceError(f"{path} is a verification set; {IMAGE_SETS}")
    images = open_listed(path, rebuild_index=rebuild_index, on_progress=on_progress)
    require_one_form(images.identities, path)
    return images


def list_set(
    path: Path, on_progress: OnProgress = silent, *, rebuild_index: bool = False
) -> Listing:
    """List a set of any kind, also a folder of images without folders in it; see `open_set`."""
    format_ = IMAGE_SETS.get(path) if path.is_dir() else None
    if format_ is None or format_.open is not open_folder or rebuild_index or _has_folders(path):
        return listing(open_set(path, on_progress, rebuild_index=rebuild_index))
    files = folder_files(path)
    warn_of_others(path, files.others)
    return Listing(
        path,
        len(files.images),
        files.images.__getitem__,
        lambda index: read_file(image_path(path, files.images[index])),
        labels=None,
        identities=None,
        others=tuple(files.others),
    )


def _has_folders(path: Path) -> bool:
    return any(each.is_dir() and not each.name.startswith(".") for each in path.iterdir())


def listing(images: LabelledImages | Pairs) -> Listing:
    """List the images of a set, each once."""
    if isinstance(images, Pairs):
        return _of_pairs(images)
    numbered = isinstance(images, RecordImages) and images.numbered
    return Listing(
        images.root,
        len(images),
        images.name,
        images.encoded,
        images.labels,
        None if numbered else images.identities,
        images.empty if isinstance(images, ImageFolder) else (),
        images.others if isinstance(images, ImageFolder) else (),
    )


def _of_pairs(pairs: Pairs) -> Listing:
    """List a verification set; its identities are the first folders in names such as ann/1.jpg."""
    names = sorted({*pairs.first, *pairs.second})
    images = pairs.images
    labels = identities = None
    if all("/" in name for name in names):
        people = [same_form(name.partition("/")[0]) for name in names]
        folders, labels = np.unique(people, return_inverse=True)
        labels, identities = labels.astype(np.int64), tuple(map(str, folders))
    return Listing(
        images.root,
        len(names),
        names.__getitem__,
        lambda index: images.encoded(names[index]),
        labels,
        identities,
        pairs=pairs,
    )
