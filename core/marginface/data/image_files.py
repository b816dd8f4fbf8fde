"""Find the images under a folder, and name the files that are passed over."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import features

from marginface.data.images import EXTENSIONS, HEIF_BRANDS, HEIF_ENDINGS, NEEDS_HEIF, has_heif
from marginface.data.names import image_path
from marginface.errors import MarginfaceError
from marginface.regular import require_regular
from marginface.text import from_system

BEGINNING = 32  # bytes of a file that tell what it is
EXAMPLES = 3  # of what is passed over
# Lists that this library writes beside images, and what file managers leave behind.
EXPECTED = frozenset(["alignment.csv", "pairs.txt"])
CLUTTER = frozenset(["thumbs.db", "desktop.ini"])
NO_IMAGE, NO_FILE = "no image", "no regular file"
CIRCLE = "a link to a folder around it"
EXPECTED_FILES = "expected JPEG, PNG, WebP, BMP, TIFF or PPM files"
RECORDS = re.compile(r"\.(rec|tfrecords?(-\d+-of-\d+)?)$", re.IGNORECASE)


class PassedOverWarning(UserWarning):
    """Warns of files or identities in a folder of images that are not read."""


@dataclass(frozen=True)
class FolderFiles:
    """The files under a folder, by their paths relative to it, with forward slashes, sorted.

    Attributes:
        images: those that are images by their names' endings, or else by how they begin.
        others: (path, why it is none).
    """

    images: list[str]
    others: list[tuple[str, str]]


def list_images(root: str | Path) -> list[str]:
    """Return the images under a folder, warning of other files; raises as `folder_files`."""
    files = folder_files(root)
    warn_of_others(root, files.others)
    return files.images


def folder_files(root: str | Path) -> FolderFiles:
    """Return the images and the other files under a folder.

    A file without an image's ending is looked into: every kind is known by how it begins. Hidden
    files and folders (a leading dot) are neither: macOS and notebooks leave such behind.

    Raises:
        MarginfaceError: no such folder, not a folder, an unreadable one, or no image in it.
    """
    root = Path(root)
    require_folder(root)
    images: list[str] = []
    others: list[tuple[str, str]] = []
    for name, entry in _walk(root, ""):
        why = CIRCLE if _is(entry.is_dir) else _why_no_image(entry)
        if not why:
            images.append(name)
        elif name not in EXPECTED and entry.name.lower() not in CLUTTER:
            others.append((name, why))
    if not images:
        seen = f" ({_told(root, others)})" if others else ""
        instead = next((name for name, _ in sorted(others) if RECORDS.search(name)), None)
        wanted = f"give {image_path(root, instead)} instead" if instead else EXPECTED_FILES
        raise MarginfaceError(f"no images under {root}{seen}; {wanted}")
    return FolderFiles(sorted(images), sorted(others))


def warn_of_others(root: str | Path, others: list[tuple[str, str]]) -> None:
    """Say which files of a folder were passed over, if any."""
    if others:
        warnings.warn(_told(root, others), PassedOverWarning, stacklevel=3)


def warn_of_empty(root: Path, identities: list[str]) -> None:
    """Say which identities' folders were passed over, if any."""
    if identities:
        folders = "1 folder" if len(identities) == 1 else f"{len(identities):,} folders"
        named = ", ".join(identities[:EXAMPLES])
        warnings.warn(
            f"passed over {folders} without images in {root}, such as {named}",
            PassedOverWarning,
            stacklevel=3,
        )


def require_folder(path: Path) -> None:
    """Refuse a path that is no folder of images."""
    require_regular(path, "expected a folder of images")
    if not path.exists():
        raise MarginfaceError(f"no such folder: {path}; expected a folder of images")
    if not path.is_dir():
        raise MarginfaceError(f"{path} is a file, expected a folder of images")


def _told(root: str | Path, others: list[tuple[str, str]]) -> str:
    # Files that a further package could read come first.
    first = sorted(others, key=lambda other: other[1] in (NO_IMAGE, NO_FILE))[:EXAMPLES]
    named = ", ".join(f"{name} ({why})" for name, why in first)
    files = "1 file" if len(others) == 1 else f"{len(others):,} files"
    return f"passed over {files} in {root}, such as {named}"


def _walk(folder: Path | str, inside: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the path of each file from `inside` on, links followed, and of links in a circle."""
    try:
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise MarginfaceError(
            f"cannot list the folder {error.filename}: {error.strerror}; make it readable"
        ) from error
    for entry in entries:
        name = inside + from_system(entry.name)
        if _is(entry.is_dir) and not _leads_back(entry):
            yield from _walk(entry.path, f"{name}/")
        else:
            yield name, entry


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link to one that it lies in, by which a walk would not end."""
    return entry.is_symlink() and any(
        os.path.samestat(entry.stat(), above.stat()) for above in Path(entry.path).parents
    )


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads nowhere, or in a circle
        return False


def _why_no_image(entry: os.DirEntry[str]) -> str:
    """Return why a file is no image, or an empty string."""
    name = entry.name.lower()
    by_ending = name.endswith(EXTENSIONS)
    if not _is(entry.is_file):
        # Reading a link to nothing fails, by name. Reading a pipe or device could wait for ever.
        leads_nowhere = not Path(entry.path).exists()
        return "" if by_ending and leads_nowhere else NO_FILE
    if by_ending and not name.endswith(HEIF_ENDINGS):
        return ""
    try:
        with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123 - as in `read_file`
            begin = file.read(BEGINNING)
    except OSError as error:
        return "" if by_ending else f"cannot be read: {error.strerror}"
    return _why_not(begin)


def _why_not(begin: bytes) -> str:
    """Return why a file with this beginning cannot be read as an image, or an empty string."""
    if begin.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")):
        return ""
    if begin[:2] == b"BM" and begin[6:10] == bytes(4):
        return ""
    if begin[:2] in (b"P5", b"P6") and begin[2:3].isspace():
        return ""
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return ""
    if begin[4:8] == b"ftyp":
        if begin[8:12] in (b"avif", b"avis"):
            return "" if features.check("avif") else "AVIF, which this Pillow cannot read"
        if begin[8:11] in HEIF_BRANDS:
            return "" if has_heif() else NEEDS_HEIF
    return NO_IMAGE
