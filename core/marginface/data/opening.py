"""Open labelled images wherever they are: a folder, a .rec or a .tfrecord file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marginface.data.formats.folder import Progress, open_image_folder
from marginface.data.formats.record_images import RecordImages
from marginface.data.image_files import list_images
from marginface.data.joined import called, check_different, join_sets
from marginface.data.lookup import require_one_form
from marginface.data.sources import FolderImages, ImagesByName, ImageSource, LabelledImages
from marginface.errors import MarginfaceError
from marginface.labels import distinct_labels

EXPECTED = "expected a folder of images, a .rec or a .tfrecord file"


def open_images(
    path: str | Path,
    *,
    size: tuple[int, int] = (112, 112),
    resize: bool = False,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    min_identities: int = 2,
    on_progress: Progress | None = None,
) -> LabelledImages:
    """Open labelled images to train on.

    Of a folder every image is decoded to find the bad ones; of a file some are, or all with
    `skip_bad`.

    Args:
        path: a folder of `identity/image` files, a .rec or a .tfrecord file.
        size: expected (height, width) of the images, in pixels.
        resize: stretch images of another size instead of refusing them.
        skip_bad: leave out bad images; they are in `skipped`.
        rebuild_index: write the .idx of a .rec anew where it is missing or stale.
        min_identities: how many there must be.
        on_progress: called with (images checked, all images) as checking goes on.

    Raises:
        MarginfaceError: neither of these, damaged, too few identities, one name in two Unicode
            forms, or bad images not skipped.
    """
    path = Path(path)
    _check_rebuild(path, rebuild_index)
    if not path.is_file():
        _refuse_folder_of_records(path)
        return open_image_folder(
            path,
            size=size,
            resize=resize,
            skip_bad=skip_bad,
            min_identities=min_identities,
            on_progress=on_progress,
        )
    found = open_records(
        path, size=size, resize=resize, rebuild_index=rebuild_index, on_progress=on_progress
    ).checked(skip_bad=skip_bad, on_progress=on_progress)
    require_one_form(found.identities, path)
    _require_identities(found, min_identities, str(path))
    return found


def open_sets(
    paths: Sequence[Path],
    *,
    join_identities: bool = False,
    names: Sequence[str] | None = None,
    size: tuple[int, int] = (112, 112),
    resize: bool = False,
    skip_bad: bool = False,
    rebuild_index: bool = False,
    on_progress: Progress | None = None,
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
    if rebuild_index and not any(map(_is_rec, paths)):
        _check_rebuild(paths[0], rebuild_index)
    sets = [
        open_images(
            path,
            size=size,
            resize=resize,
            skip_bad=skip_bad,
            rebuild_index=rebuild_index and _is_rec(path),
            min_identities=2 if len(paths) == 1 else 1,
            on_progress=on_progress,
        )
        for path in paths
    ]
    if len(sets) == 1:
        return sets[0]
    labels = distinct_labels(paths, "training set")
    pairs = zip(labels, names or labels, strict=True)
    # A set with another's name has changed places with it; any other new name is of one that moved.
    if names and all(now == before or now not in names for now, before in pairs):
        labels = list(names)
    joined = join_sets(sets, labels, join_identities=join_identities)
    _require_identities(joined, 2, called(paths))
    return joined


def _require_identities(found: LabelledImages, least: int, where: str) -> None:
    if len(found.identities) < least:
        raise MarginfaceError(
            f"the number of identities in {where} is {len(found.identities)}, need at least "
            f"{least} to train; add images of others"
        )


def open_records(
    path: Path,
    *,
    size: tuple[int, int] = (112, 112),
    resize: bool = False,
    rebuild_index: bool = False,
    on_progress: Progress | None = None,
) -> RecordImages:
    """Open the images of a .rec or .tfrecord file, decoding none; see `open_images`.

    Of a set in several .tfrecord files, any of them stands for all.

    Raises:
        MarginfaceError: no such file, or a damaged one.
    """
    if path.suffix.lower() == ".rec":
        from marginface.data.formats.record_layout import index_of_records
        from marginface.data.formats.recordio import RecordFile
        from marginface.data.formats.shards import warn_of_parts

        warn_of_parts(path)
        index = index_of_records(path, rebuild_index=rebuild_index, on_progress=on_progress)
        return RecordImages(RecordFile(path), index, size, resize)
    if ".tfrecord" in path.name.lower():  # shards end in .tfrecord-00000-of-00010
        from marginface.data.formats.shards import ShardedRecords, shards_of
        from marginface.data.formats.tfrecord_layout import index_of_tfrecord

        records = ShardedRecords(shards_of(path))
        index = index_of_tfrecord(records, on_progress=on_progress)
        return RecordImages(records, index, size, resize)
    raise MarginfaceError(f"{path} is a file of another kind; {EXPECTED}")


def open_by_name(path: Path, *, rebuild_index: bool = False) -> tuple[ImageSource, Sequence[str]]:
    """Return the images of a folder, .rec or .tfrecord by name, and their names, decoding none.

    A folder may have any layout here; see `list_images` and `open_records`.

    Raises:
        MarginfaceError: as these do.
    """
    _check_rebuild(path, rebuild_index)
    if not path.is_file():
        return FolderImages(path), list_images(path)
    found = open_records(path, rebuild_index=rebuild_index)
    return ImagesByName(found), list(found.index.names())


def _check_rebuild(path: Path, rebuild_index: bool) -> None:
    if rebuild_index and not _is_rec(path):
        raise MarginfaceError(
            f"--rebuild-index (rebuild_index=True) is for a .rec alone, not {path}; leave it out"
        )


def _is_rec(path: Path) -> bool:
    return path.suffix.lower() == ".rec"


def _refuse_folder_of_records(path: Path) -> None:
    """Raise if a folder holds record files instead of folders of images."""
    if not path.exists():
        raise MarginfaceError(f"no such file or folder: {path}; {EXPECTED}")
    found = sorted(entry.name for entry in path.iterdir() if entry.suffix == ".rec")
    if found and not any(entry.is_dir() for entry in path.iterdir()):
        raise MarginfaceError(f"{path} holds no folders of images; give {path / found[0]} instead")
