"""Open labelled images wherever they are, in any format of `IMAGE_SETS`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from marginface.data.formats.folder import open_folder
from marginface.data.formats.record_images import RecordImages
from marginface.data.formats.registry import IMAGE_SETS, has_index, is_rec
from marginface.data.image_files import list_images
from marginface.data.images import decoded_size
from marginface.data.joined import called, check_different, join_sets
from marginface.data.lookup import require_one_form
from marginface.data.sources import (
    FolderImages,
    ImagesByName,
    ImageSource,
    LabelledImages,
    OnProgress,
    OpenOptions,
    silent,
)
from marginface.errors import MarginfaceError
from marginface.labels import distinct_labels
from marginface.model import Resize


def open_images(
    path: str | Path,
    *,
    size: tuple[int, int] = (112, 112),
    resize: Resize = False,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    min_identities: int = 2,
    on_progress: OnProgress = silent,
) -> LabelledImages:
    """Open labelled images to train on.

    Of a folder every image is decoded to find the bad ones; of a file some are, or all with
    `skip_bad`.

    Args:
        path: a folder of `identity/image` files, a .rec, a .tfrecord or a file of another format
            that is registered.
        size: expected (height, width) of the images, in pixels.
        resize: bring images of another size to it instead of refusing them.
        skip_bad: leave out bad images; they are in `skipped`.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        min_identities: how many there must be.
        on_progress: called with (images checked, all images) as checking goes on.

    Raises:
        MarginfaceError: neither of these, damaged, too few identities, one name in two Unicode
            forms, or bad images not skipped.
    """
    path = Path(path)
    options = OpenOptions(size, resize, True, skip_bad, rebuild_index, min_identities, on_progress)
    images = _open(path, options)
    require_one_form(images.identities, path)
    _require_identities(images, min_identities, str(path))
    return images


def open_sets(
    paths: Sequence[Path],
    *,
    join_identities: bool = False,
    names: Sequence[str] | None = None,
    size: tuple[int, int] = (112, 112),
    resize: Resize = False,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    on_progress: OnProgress = silent,
) -> LabelledImages:
    """Open one or several sets of labelled images to train on.

    Args:
        paths: of the sets, as `open_images` takes them; one set stays as it is.
        join_identities: take a name that several sets have for one identity.
        names: what the sets were called before, to be kept where they have moved.
        size: of the images, as the rest is, as `open_images` takes it.

    Raises:
        MarginfaceError: as `open_images`; a set is given twice, or its identities have no names by
            which to join them.
    """
    check_different(paths)
    records = [is_rec(path) for path in paths]
    sets = [
        open_images(
            path,
            size=size,
            resize=resize,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index and (record or not any(records)),
            min_identities=2 if len(paths) == 1 else 1,
            on_progress=on_progress,
        )
        for path, record in zip(paths, records, strict=True)
    ]
    if len(sets) == 1:
        return sets[0]
    labels = distinct_labels(paths, "training set")
    pairs = zip(labels, names or labels, strict=True)
    # Sets under each other's names have changed places; any other new name is of a set that moved.
    if names and all(now == before or now not in names for now, before in pairs):
        labels = list(names)
    joined = join_sets(sets, labels, join_identities=join_identities)
    _require_identities(joined, 2, called(paths))
    return joined


def _require_identities(images: LabelledImages, least: int, where: str) -> None:
    if len(images.identities) < least:
        raise MarginfaceError(
            f"the number of identities in {where} is {len(images.identities)}, need at least "
            f"{least} to train; add images of others"
        )


def open_listed(
    path: Path, *, rebuild_index: bool = False, on_progress: OnProgress = silent
) -> LabelledImages:
    """Open labelled images, decoding none, so that broken ones are among them; see `open_images`.

    Raises:
        MarginfaceError: no such file or folder, of another kind, or damaged.
    """
    return _open(path, OpenOptions(rebuild_index=rebuild_index, on_progress=on_progress))


def first_size(path: Path) -> tuple[int, int] | None:
    """Return the (height, width) of the first image of a set that can be read; None without one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those who open it to train will say it
        images = open_listed(path)
    for number in range(len(images)):
        with suppress(MarginfaceError):
            return decoded_size(images.encoded(number), images.name(number))
    return None


def open_by_name(path: Path, *, rebuild_index: bool = False) -> tuple[ImageSource, Sequence[str]]:
    """Return the images of a set by name, and their names, decoding none.

    A folder may have any layout here; see `list_images` and `open_listed`.

    Raises:
        MarginfaceError: as these do.
    """
    # A user's own kind of folder names its images itself.
    if IMAGE_SETS.find(path).open is open_folder and not rebuild_index:
        return FolderImages(path), list_images(path)
    images = open_listed(path, rebuild_index=rebuild_index)
    if isinstance(images, RecordImages):  # of millions: one by one would take five times as long
        return ImagesByName(images), list(images.index.names())
    return ImagesByName(images), [images.name(number) for number in range(len(images))]


def _open(path: Path, options: OpenOptions) -> LabelledImages:
    opener = IMAGE_SETS.find(path).open
    require_rec(path, rebuild_index=options.rebuild_index)
    return opener(path, options)


def require_rec(path: Path, *, rebuild_index: bool) -> None:
    """Raise where an index shall be rebuilt of what has none."""
    if rebuild_index and not has_index(path):
        raise MarginfaceError(f"--rebuild-index is for a .rec alone, not {path}; leave it out")
