"""Parts of a training set: some identities or images of it, or two parts to train and validate."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import new_folder
from marginface.data.cleaning import COLUMNS, OF_SEVERAL
from marginface.data.formats.folder import ImageFolder
from marginface.data.formats.registry import is_rec
from marginface.data.lines import how_to_convert
from marginface.data.linking import link_images
from marginface.data.lookup import ImageNames
from marginface.data.packing.targets import target_format
from marginface.data.packing.training_sets import Summary, check_target, pack
from marginface.data.rows import by_name, find_columns, read_rows, truth
from marginface.data.sources import LabelledImages, OnProgress, silent
from marginface.data.verification.container import write_container
from marginface.data.verification.pair_folder import pair_list
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.locking import sole_writer
from marginface.outputs import check_folder, put_folder, refuse_among
from marginface.regular import real_path
from marginface.text import from_system, in_quotes, printable, to_system

Indices = NDArray[np.int64]

_USED = ("path", "kept", "data")  # of a table of `marginface clean`


def choose(
    images: LabelledImages,
    *,
    kept: Path | None = None,
    min_images: int = 1,
    max_images: int | None = None,
    identities: int | None = None,
    seed: int = 0,
) -> Indices:
    """Return the numbers of some images, ascending.

    Args:
        images: what to choose from.
        kept: the table of `marginface clean`: only images with kept = 1 there.
        min_images: only identities with at least so many of these.
        max_images: of each at most so many, drawn at random.
        identities: only so many of those, drawn at random.
        seed: decides what is drawn.

    Raises:
        MarginfaceError: no image is left, there are fewer identities, or the table is of other
            images.
    """
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(images)) if kept is None else _kept(images, kept)
    counts = np.bincount(images.labels[chosen], minlength=len(images.identities))
    enough = np.flatnonzero(counts >= max(min_images, 1))
    if len(enough) < (identities or 1):
        raise MarginfaceError(
            f"{images.root} has {len(enough)} identities with at least {min_images} images, "
            f"expected {identities or 1} or more; lower --min-images or --identities"
        )
    if identities is not None:
        enough = rng.choice(enough, identities, replace=False)
    chosen = chosen[np.isin(images.labels[chosen], enough)]
    if max_images is not None:
        shuffled = rng.permutation(chosen)
        chosen = np.sort(shuffled[_rank(images.labels[shuffled]) < max_images])
    return chosen


def split(
    images: LabelledImages, fraction: float, *, by: str = "identity", seed: int = 0
) -> tuple[Indices, Indices]:
    """Return the numbers of the images to train and to validate on, each ascending.

    Args:
        images: what to split.
        fraction: of the identities, or of the images, that go to validation.
        by: identity: no identity is in both parts; image: each keeps an image to train on.
        seed: decides what is drawn.

    Raises:
        MarginfaceError: a fraction out of range, or a part would be empty.
    """
    if not 0 < fraction < 1:
        raise MarginfaceError(f"fraction must be between 0 and 1, got {fraction}")
    if by not in ("identity", "image"):
        raise MarginfaceError(f"cannot split by '{by}'; expected identity or image")
    rng = np.random.default_rng(seed)
    labels = images.labels
    if by == "identity":
        units, free = "identities", np.unique(labels)
        total, most = len(free), len(free) - 1
    else:
        shuffled = rng.permutation(len(labels))
        units, free = "images", shuffled[_rank(labels[shuffled]) > 0]
        total, most = len(labels), len(free)
    count = max(round(fraction * total), 1)
    if count > most:
        raise MarginfaceError(
            f"cannot hold out {count:,} of the {total:,} {units} of {images.root}: "
            f"{most:,} at most, so that each part has what it needs; choose a smaller fraction"
        )
    drawn = rng.choice(free, count, replace=False)
    held_out = np.isin(labels if by == "identity" else np.arange(len(labels)), drawn)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def write_part(
    images: LabelledImages,
    chosen: Indices,
    target: Path,
    on_progress: OnProgress = silent,
    *,
    overwrite: bool = False,
) -> Summary:
    """Write some images to a new folder, .rec or .tfrecord, as they are.

    A folder of a folder's images has hard links, or copies where links fail.

    Raises:
        MarginfaceError: as `pack`.
    """
    if isinstance(images, ImageFolder) and not target_format(target):
        check_target(target, images.root, overwrite=overwrite)
        link_images(images.root, map(images.name, chosen.tolist()), target)
        return Summary(len(chosen), len(np.unique(images.labels[chosen])))
    return pack(images, target, chosen=chosen, overwrite=overwrite, on_progress=on_progress)


def check_split(output: Path, source: Path, *, overwrite: bool) -> None:
    """Raise before the work if a folder of two sets cannot be written."""
    check_folder(output, overwrite=overwrite, inputs=[source], whole=True)
    refuse_among(output, source)


def write_split(
    images: LabelledImages,
    parts: tuple[Indices, Indices],
    output: Path,
    *,
    pairs: Pairs | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> tuple[Summary, Summary]:
    """Write a new folder of two sets, `train` and `validation`: folders, or record files.

    Those of a folder are folders, those of a .rec are .rec files, all others .tfrecord files.

    Args:
        images: what was split.
        parts: numbers of the images of each part.
        output: the folder; it appears when all is written.
        pairs: of the second part: `pairs.txt`, a list for images in `validation`, or where these
            are in a record file `pairs.zip`, which holds its own.
        overwrite: replace a folder that marginface wrote.
        on_progress: called with (images done, all images) of each part.

    Raises:
        MarginfaceError: as `pack`.
    """
    check_split(output, images.root, overwrite=overwrite)
    suffix = ""
    if not isinstance(images, ImageFolder):
        suffix = ".rec" if is_rec(images.root) else ".tfrecord"
    with sole_writer(output), new_folder(output, put_folder) as partial:
        summaries = [
            write_part(images, chosen, partial / f"{name}{suffix}", on_progress)
            for name, chosen in zip(("train", "validation"), parts, strict=True)
        ]
        if pairs is not None and suffix:
            write_container(partial / "pairs.zip", pairs)
        elif pairs is not None:
            text = pair_list(pairs, map(images.name, parts[1].tolist()))
            (partial / "pairs.txt").write_bytes(text.encode())
    return summaries[0], summaries[1]


def _rank(labels: NDArray[np.int64]) -> Indices:
    """For each element, count the equal elements before it.

    >>> _rank(np.array([5, 2, 5, 5]))
    array([0, 0, 1, 2])
    """
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ranks = np.arange(len(labels)) - np.repeat(begins, np.diff([*begins, len(labels)]))
    rank_of = np.empty(len(labels), np.int64)
    rank_of[order] = ranks
    return rank_of


def _kept(images: LabelledImages, path: Path) -> Indices:
    """Return the numbers of the images that a table keeps."""
    number_of: dict[str, int] = {}
    for index in range(len(images)):
        name = printable(images.name(index)).strip()
        if number_of.setdefault(name, index) != index:
            raise MarginfaceError(
                f"{images.root} has two images that a table calls {name}; rename one of them"
            )
    names = ImageNames(number_of)
    expected = f"expected {','.join(COLUMNS)}"
    chosen, others = [], set()
    this_root = printable(from_system(str(real_path(images.root))))
    is_here = cache(lambda name: from_system(str(real_path(Path(to_system(name))))) == this_root)
    table = f"a table of `marginface clean`; {expected}"
    rows = read_rows(path, table, heading=OF_SEVERAL, piped=True)
    heading = next(rows)
    found = find_columns(str(path), heading.fields, dict.fromkeys(OF_SEVERAL, ()))
    if not {"path", "kept"} <= found.keys():
        raise MarginfaceError(f"{path} is no table of `marginface clean`; {expected}")
    columns = {name: found[name] for name in _USED if name in found}
    for row in by_name(rows, columns, len(heading.fields)):
        name, kept, *data = row.fields
        if (keeps := truth(kept)) is None:
            raise MarginfaceError(f"{row.where}: {expected} with kept 0 or 1, got {row.shown}")
        if data and not is_here(data[0]):
            others.add(data[0])
            continue
        image = names.find(printable(name), f"{row.where}: ")
        if image is None:
            raise MarginfaceError(
                f"{row.where}: {images.root} has no image {in_quotes(name)}; give the data that "
                f"was cleaned{how_to_convert(name, row.where)}"
            )
        if keeps:
            chosen.append(number_of[image])
    if others and not chosen:
        raise MarginfaceError(
            f"{path} keeps no image of {images.root}; its sets are {', '.join(sorted(others))}"
        )
    return np.unique(np.array(chosen, np.int64))
