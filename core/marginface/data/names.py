"""Names of images from archives and lists, before they become paths."""

from __future__ import annotations

from pathlib import Path

from marginface.errors import MarginfaceError
from marginface.text import to_system

LONGEST = 255  # bytes of one part: what common file systems take
FORBIDDEN = frozenset([*map(chr, range(32)), "\x7f", "/", "\\", ":"])


def image_path(root: Path, name: str) -> Path:
    """Return the path of an image in a folder, by the name that `folder_files` gives it."""
    return root / to_system(name)


def inner_path(root: Path, name: str) -> Path:
    """Return the path of a file under a folder; its name has parts between forward slashes.

    >>> inner_path(Path("faces"), "ann/1.jpg").as_posix()
    'faces/ann/1.jpg'
    >>> inner_path(Path("faces"), "ann/../../1.jpg")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: 'ann/../../1.jpg' does not do for a file in a folder; \
expected such as IDENTITY/IMAGE, without a leading dot or tilde, colons, backslashes and control \
characters

    Raises:
        MarginfaceError: the name could lead out of the folder on some system, is hidden there (a
            leading dot), is a home (a leading tilde), or no file system takes it.
    """
    parts = name.split("/")
    if not all(map(_plain, parts)):
        raise MarginfaceError(
            f"{name[:80]!r} does not do for a file in a folder; expected such as IDENTITY/IMAGE, "
            "without a leading dot or tilde, colons, backslashes and control characters"
        )
    return root.joinpath(*map(to_system, parts))


def split_name(name: str) -> tuple[str, str]:
    """Return identity and file of an image's name.

    >>> split_name("ann/1.jpg")
    ('ann', '1.jpg')

    Raises:
        MarginfaceError: it has other parts, or is refused by `inner_path`.
    """
    path = inner_path(Path(), name)
    if len(path.parts) != 2:
        raise MarginfaceError(f"cannot pack {name[:80]!r}; expected a name IDENTITY/IMAGE")
    return path.parts[0], path.parts[1]


def _plain(part: str) -> bool:
    """Return whether a part is a name on any system: no path, home, drive or control character."""
    try:
        length = len(part.encode(errors="surrogateescape"))
    except UnicodeEncodeError:  # half a character, which no file's name can be
        return False
    return 0 < length <= LONGEST and part[0] not in ".~" and FORBIDDEN.isdisjoint(part)
