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

from marginface.data.formats.compact import encoded_name
from marginface.data.image_files import (
    FolderFiles,
    folder_files,
    require_folder,
    warn_of_empty,
    warn_of_others,
)
from marginface.data.images import read_file, read_image
from marginface.data.lookup import by_form, require_one_form, same_form
from marginface.data.names import image_path
from marginface.data.sources import OnProgress, OpenOptions
from marginface.errors import MarginfaceError
from marginface.model import Resize
from marginface.text import from_system, to_system

LAYOUT = "expected ROOT/IDENTITY/IMAGE, one folder for each identity"
CHUNK = 256  # images handed to the thread pool at a time, so that Ctrl-C does not wait for millions

T = TypeVar("T")
UNCHECKED = OpenOptions()


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Labelled images on disk; `folder[i]` reads image i.

    Attributes:
        root: the folder itself.
        identities: names of the identities; a label is an index into them.
        paths: image paths relative to root.
        labels: int64 [number of images].
        size: (height, width) of every image, in pixels.
        resize: how images of another size are brought to it, if at all.
        skipped: bad images that were left out as (path relative to root, reason).
        empty: identities' folders without images.
        others: files that are no images as (path relative to root, reason).
    """

    root: Path
    identities: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    size: tuple[int, int]
    resize: Resize
    skipped: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int64]:
        """Return image `index`, RGB [height, width, 3], and its label."""
        name = to_system(self.paths[index])
        path = os.path.join(self.root, name)  # noqa: PTH118 - a tenth of pathlib's time
        return read_image(path, self.size, resize=self.resize), self.labels[index]

    def name(self, index: int) -> str:
        """Return the path of image `index`, relative to root."""
        return self.paths[index]

    def encoded(self, index: int) -> bytes:
        """Return the bytes of the file of image `index`."""
        return read_file(image_path(self.root, self.paths[index]))

    def fingerprint(self) -> str:
        """Return a digest of the image paths, relative to the root, in order.

        It is the same in any Unicode form, since copies on another system may have another.
        """
        names = (encoded_name(same_form(path)) for path in self.paths)
        return hashlib.sha256(b"\0".join(names)).hexdigest()


def open_folder(path: Path, options: OpenOptions = UNCHECKED) -> ImageFolder:
    """Open a folder of `identity/image` files.

    Files that are no images and identities without images are passed over, with a warning, hidden
    ones without. Where nothing is checked, no image is read, and `size` says nothing.

    Raises:
        MarginfaceError: another layout, or no image at all; where images are checked, also too few
            identities, one name in two Unicode forms, or bad images not skipped.
    """
    require_folder(path)
    files, empty = _layout(path)
    kept, bad = files.images, []
    if options.check:
        require_one_form(_identities(files.images), path)
        bad = _checked(path, files.images, options)
        left_out = {name for name, _ in bad}
        kept = [name for name in files.images if name not in left_out]
    identities = _identities(kept)
    if options.check and len(identities) < options.min_identities:
        after = f" after leaving out {_first_of(path, bad)}" if bad else ""
        raise MarginfaceError(
            f"the number of identities in {path} is {len(identities)}{after}, need at least "
            f"{options.min_identities} to train; {LAYOUT}"
        )
    return ImageFolder(
        path,
        tuple(identities),
        tuple(kept),
        _labels(kept, identities),
        options.size,
        options.resize,
        skipped=tuple(bad),
        empty=tuple(empty),
        others=tuple(files.others),
    )


def _checked(root: Path, names: Sequence[str], options: OpenOptions) -> list[tuple[str, str]]:
    """Decode every image; return the bad ones with the reason, or raise where none is skipped."""
    check = partial(_problem, root=root, size=options.size, resize=options.resize)
    bad = bad_images(names, check, options.on_progress)
    if bad and not options.skip_bad:
        name, reason = bad[0]
        raise MarginfaceError(
            f"{len(bad)} of {len(names)} images in {root} cannot be used; the first is "
            f"{name}: {reason}; or leave such out with --skip-bad"
        )
    return bad


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
    try:
        files = folder_files(root)
    except MarginfaceError as error:
        raise MarginfaceError(f"{error}; {LAYOUT}") from error
    files = replace(files, images=sorted(files.images, key=by_form))
    paths = files.images
    misplaced = [path for path in paths if path.count("/") != 1]
    if misplaced:
        name = misplaced[0]
        if "/" in name:
            where, advice = "too deep", f"give {image_path(root, name).parent.parent}"
        else:
            moved = image_path(root, f"NAME/{name}")
            where = "not in an identity's folder"
            advice = f"move each to its person's, as {moved}"
        raise MarginfaceError(
            f"{len(misplaced)} of {len(paths)} images in {root} are {where}, "
            f"such as {name}; {LAYOUT}: {advice}"
        )
    filled = {_identity(path) for path in paths}
    folders = sorted(
        from_system(entry.name)
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
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


def _problem(path: str, root: Path, size: tuple[int, int], resize: Resize) -> str:
    """Return why an image cannot be used, or an empty string."""
    file = image_path(root, path)
    try:
        read_image(file, size, resize=resize)
    except MarginfaceError as error:
        return str(error).removeprefix(f"{file}: ")
    return ""


def _first_of(root: Path, bad: list[tuple[str, str]]) -> str:
    path, reason = bad[0]
    return f"{len(bad)} bad images (the first, {image_path(root, path)}: {reason})"
