"""InsightFace's verification sets (lfw.bin and the like): a pickle of (images, whether same).

Images are encoded (JPEG, PNG), two for each pair; the file has neither names nor folds.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marginface.atomic import replacing
from marginface.data.names import image_path
from marginface.data.verification.folds import usual_folds
from marginface.data.verification.pairs import Pairs
from marginface.errors import MarginfaceError
from marginface.labels import short_name
from marginface.pickles.reading import load
from marginface.pickles.values import Array

LARGEST_IMAGE = 2**32 - 1  # bytes, of the opcode that is written


@dataclass(frozen=True)
class BinImages:
    """An `ImageSource` of the images in a .bin file, where they lie in it; names are numbers."""

    root: Path
    images: dict[str, bytes | memoryview]

    def encoded(self, name: str) -> bytes:
        """Return an image as it is stored."""
        if name not in self.images:
            raise MarginfaceError(f"{self.root} has no image {name}; it has {len(self.images)}")
        return bytes(self.images[name])


def read_bin(path: str | Path) -> Pairs:
    """Read a verification set as InsightFace distributes it; nothing in it is executed.

    Python 2's and 3's pickles are read, with images as bytes or NumPy arrays. The file is mapped,
    not loaded. An image that occurs several times has one name, its first number.

    Raises:
        MarginfaceError: it is none, damaged, or asks for anything but bytes, lists and flags.
    """
    path = Path(path)
    content = load(_mapped(path), path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise _unfit(path, "it is no tuple of images and flags")
    images, flags = content
    if not isinstance(images, list | tuple):
        raise _unfit(path, "its images are in no list")
    same = _flags(path, flags)
    if len(images) != 2 * len(same):
        raise _unfit(path, f"it has {len(images)} images for {len(same)} pairs")
    named: dict[str, bytes | memoryview] = {}
    first_of: dict[bytes, str] = {}
    names = []
    for number, image in enumerate(images):
        data = _image(path, number, image)
        name = first_of.setdefault(hashlib.sha256(data).digest(), f"{number:05d}")
        named.setdefault(name, data)
        names.append(name)
    return Pairs(
        BinImages(path, named),
        tuple(names[::2]),
        tuple(names[1::2]),
        same,
        usual_folds(same),
        short_name(path),
    )


def write_bin(path: str | Path, pairs: Pairs) -> None:
    """Write pairs as a .bin file that InsightFace's and this library's readers take.

    It is a pickle of protocol 3, written as it goes: one image is in memory at a time. The file has
    no place for names and folds: what reads it forms `usual_folds`.

    Raises:
        MarginfaceError: an image cannot be read; `path` is as it was.
    """
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(b"\x80\x03](")  # protocol 3, a list, its items
        for names in zip(pairs.first, pairs.second, strict=True):
            for name in names:
                image = pairs.images.encoded(name)
                if len(image) > LARGEST_IMAGE:
                    raise MarginfaceError(
                        f"{image_path(pairs.images.root, name)} is too large for a .bin"
                    )
                file.write(b"B" + struct.pack("<I", len(image)))  # bytes
                file.write(image)
        file.write(b"e](")  # into the list; another one
        file.write(b"".join(b"\x88" if flag else b"\x89" for flag in pairs.same.tolist()))
        file.write(b"e\x86.")  # into the list; a tuple of both; the end


def tells_folds(pairs: Pairs) -> bool:
    """Whether a .bin keeps the pairs' folds: it stores none, and readers form the usual ones."""
    return np.array_equal(usual_folds(pairs.same), pairs.fold)


def _mapped(path: Path) -> bytes | mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise MarginfaceError(
            f"cannot read {path}: {error.strerror}; expected a verification set"
        ) from None
    except ValueError:  # nothing to map
        raise _unfit(path, "it is empty") from None


def _flags(path: Path, flags: Any) -> NDArray[np.bool_]:
    """Return the flags of a list, or of an array of one dimension."""
    values: Sequence[Any] = ()
    if isinstance(flags, Array) and len(flags.shape) == 1:
        values = flags.data
    elif isinstance(flags, list | tuple):
        values = flags
    else:
        raise _unfit(path, "its flags are in no list")
    if not values:
        raise _unfit(path, "it has no pairs")
    if not all(isinstance(value, int) and value in (0, 1) for value in values):
        raise _unfit(path, "a flag is neither true nor false")
    return np.fromiter(values, np.bool_, len(values))


def _image(path: Path, number: int, image: Any) -> bytes | memoryview:
    if isinstance(image, Array) and image.code == "u1" and len(image.shape) == 1:
        image = image.data
    if not isinstance(image, bytes | memoryview) or not image:
        raise _unfit(path, f"its image {number} is no encoded image")
    return image


def _unfit(path: Path, reason: str) -> MarginfaceError:
    return MarginfaceError(
        f"{path} is no verification set: {reason}; expected InsightFace's pickle of encoded "
        "images, two for each pair, and of flags"
    )
