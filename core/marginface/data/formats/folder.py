"""Image folders: one subfolder of images for each identity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from marginface.data.image_files import (
    FolderFiles,
    folder_files,
    require_folder,
    warn_of_empty,
    warn_of_others,
)
from marginface.data.images import read_file, read_image
from marginface.data.lookup import by_form, require_one_form, same_form
from marginface.data.sources import OnProgress, OpenOptions, silent
from marginface.errors import MarginfaceError

LAYOUT = "expected ROOT/IDENTITY/IMAGE, one folder for each identity"
CHUNK = 256  # images handed to the thread pool at a time, so that Ctrl-C does not wait for millions

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Labelled images on disk; `folder[i]` reads image i.

    Attributes:
        root: the folder itself.
        identities: names of the identities; a label is an index into them.
        paths: image paths relative to root.
        labels: int64 [number of images].
        size: (height, width) of every image, in pixels.
        resize: whether images of another size are stretched to it.
        skipped: bad images that were left out as (path relative to root, reason).
        empty: identities' folders without images.
        others: files that are no images as (path relative to root, reason).
    """

    root: Path
    identities: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    size: tuple[int, int]
    resize: bool
    skipped: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int64]:
        """Return image `index`, RGB [height, width, 3], and its label."""
        path = os.path.join(self.root, self.paths[index])  # noqa: PTH118 - a tenth of pathlib's time
        return read_image(path, self.size, resize=self.resize), self.labels[index]

    def name(self, index: int) -> str:
        """Return the path of image `index`, relative to root."""
        return self.paths[index]

    def encoded(self, index: int) -> bytes:
        """Return the bytes of the file of image `index`."""
        return read_file(self.root / self.paths[index])

    def fingerprint(self) -> str:
        """Return a digest of the image paths, relative to the root, in order.

        It is the same in any Unicode form, since copies on another system may have another.
        """
        names = (os.fsencode(same_form(path)) for path in self.paths)
        return hashlib.sha256(b"\0".join(names)).hexdigest()


def open_folder(path: Path, options: OpenOptions) -> ImageFolder:
    """Open a folder as a set of images; see `open_image_folder` and `list_image_folder`."""
    if not options.check:
        return list_image_folder(path)
    _refuse_folder_of_records(path)
    return open_image_folder(
        path,
        size=options.size,
        resize=options.resize,
        skip_bad=options.skip_bad,
        min_identities=options.min_identities,
        on_progress=options.on_progress,
    )


def open_image_folder(
    root: str | Path,
    *,
    size: tuple[int, int] = (112, 112),
    resize: bool = False,
    skip_bad: bool = False,
    min_identities: int = 2,
    on_progress: OnProgress = silent,
) -> ImageFolder:
    """Open a folder of `identity/image` files, decoding every image once to find the bad ones.

    Args:
        root: the folder; files that are no images and identities without images are passed over,
            with a warning, hidden ones without.
        size: expected (height, width) of the images, in pixels.
        resize: stretch images of another size instead of refusing them.
        skip_bad: leave bad images out; they are in `skipped`.
        min_identities: how many there must be.
        on_progress: called with (images checked, all images) as checking goes on.

    Raises:
        MarginfaceError: another layout, too few identities, one name in two Unicode forms, or bad
            images not skipped.
    """
    root = Path(root)
    files, empty = _layout(root)
    require_one_form(_identities(files.images), root)
    check = partial(_problem, root=root, size=size, resize=resize)
    bad = bad_images(files.images, check, on_progress)
    if bad and not skip_bad:
        path, reason = bad[0]
        raise MarginfaceError(
            f"{len(bad)} of {len(files.images)} images in {root} cannot be used; the first is "
            f"{path}: {reason}; or leave such out with --skip-bad (skip_bad=True)"
        )
    left_out = {path for path, _ in bad}
    good = tuple(path for path in files.images if path not in left_out)
    identities = _identities(good)
    if len(identities) < min_identities:
        after = f" after leaving out {_first_of(root, bad)}" if bad else ""
        raise MarginfaceError(
            f"the number of identities in {root} is {len(identities)}{after}, need at least "
            f"{min_identities} to train; {LAYOUT}"
        )
    return ImageFolder(
        root,
        tuple(identities),
        good,
        _labels(good, identities),
        size,
        resize,
        skipped=tuple(bad),
        empty=tuple(empty),
        others=tuple(files.others),
    )


def list_image_folder(root: str | Path) -> ImageFolder:
    """List a folder of `identity/image` files without reading them; `size` says nothing then.

    Raises:
        MarginfaceError: another layout, or no image at all.
    """
    root = Path(root)
    files, empty = _layout(root)
    identities = _identities(files.images)
    return ImageFolder(
        root,
        tuple(identities),
        tuple(files.images),
        _labels(files.images, identities),
        (112, 112),
        resize=False,
        empty=tuple(empty),
        others=tuple(files.others),
    )


def _identity(path: str) -> str:
    return path.partition("/")[0]


def _identities(paths: Iterable[str]) -> list[str]:
    """Return the names of identities in an order that is the same in any Unicode form."""
    return sorted({_identity(path) for path in paths}, key=by_form)


def _labels(paths: Sequence[str], identities: Sequence[str]) -> NDArray[np.int64]:
    label_of = {identity: label for label, identity in enumerate(identities)}
    return np.array([label_of[_identity(path)] for path in paths], np.int64)


def _layout(root: Path) -> tuple[FolderFiles, list[str]]:
    """List the files, and the identity folders without images; refuse other layouts."""
    require_folder(root)
    try:
        files = folder_files(root)
    except MarginfaceError as error:
        raise MarginfaceError(f"{error}; {LAYOUT}") from error
    files = replace(files, images=sorted(files.images, key=by_form))
    paths = files.images
    misplaced = [path for path in paths if path.count("/") != 1]
    if misplaced:
        where = "too deep" if "/" in misplaced[0] else "not in an identity's folder"
        raise MarginfaceError(
            f"{len(misplaced)} of {len(paths)} images in {root} are {where}, "
            f"such as {misplaced[0]}; {LAYOUT}"
        )
    filled = {_identity(path) for path in paths}
    folders = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    empty = [name for name in folders if name not in filled]
    warn_of_others(root, files.others)
    warn_of_empty(root, empty)
    return files, empty


def bad_images(
    images: Sequence[T], problem: Callable[[T], str], on_progress: OnProgress
) -> list[tuple[T, str]]:
    """Find the images that have a problem, on all CPUs; return them with it."""
    bad: list[tuple[T, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            problems = pool.map(problem, chunk)
            bad += [(image, why) for image, why in zip(chunk, problems, strict=True) if why]
            on_progress(start + len(chunk), len(images))
    return bad


def _problem(path: str, root: Path, size: tuple[int, int], resize: bool) -> str:
    """Return why an image cannot be used, or an empty string."""
    try:
        read_image(root / path, size, resize=resize)
    except MarginfaceError as error:
        return str(error).removeprefix(f"{root / path}: ")
    return ""


def _first_of(root: Path, bad: list[tuple[str, str]]) -> str:
    path, reason = bad[0]
    return f"{len(bad)} bad images (the first, {root / path}: {reason})"


def _refuse_folder_of_records(path: Path) -> None:
    """Raise if a folder holds record files instead of folders of images."""
    records = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".rec")
    if records and not any(entry.is_dir() for entry in path.iterdir()):
        raise MarginfaceError(
            f"{path} holds no folders of images; give {path / records[0]} instead"
        )
