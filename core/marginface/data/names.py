"""Names of images from archives and lists, before they become paths."""

from __future__ import annotations

from pathlib import Path

from marginface.errors import MarginfaceError

LONGEST = 255  # bytes of one part: what common file systems take


def inner_path(root: Path, name: str) -> Path:
    r"""Return the path of an image under a folder; its name is `identity/image`.

    >>> inner_path(Path("faces"), "ann/1.jpg").as_posix()
    'faces/ann/1.jpg'
    >>> inner_path(Path("faces"), "ann/../../1.jpg")
    Traceback (most recent call last):
    marginface.errors.MarginfaceError: 'ann/../../1.jpg' is no name of an image in a folder; \
expected IDENTITY/IMAGE, of plain letters, digits and punctuation, without a leading dot

    Raises:
        MarginfaceError: the name could lead out of the folder, is hidden there (a leading dot), or
            no file system takes it.
    """
    parts = name.split("/")
    if len(parts) != 2 or not all(map(_plain, parts)):
        raise MarginfaceError(
            f"{name[:80]!r} is no name of an image in a folder; expected IDENTITY/IMAGE, of plain "
            "letters, digits and punctuation, without a leading dot"
        )
    return root / parts[0] / parts[1]


def _plain(part: str) -> bool:
    r"""Return whether a part is a name on every system: no path, drive, stream or control code."""
    return (
        part not in ("", "~")
        and not part.startswith(".")  # hidden, or the folder above
        and not any(character in "\\/:" or ord(character) < 32 for character in part)
        and len(part.encode(errors="surrogateescape")) <= LONGEST
    )
