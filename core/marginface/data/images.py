"""Reading image files, strictly: what cannot be decoded whole is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from marginface.errors import MarginfaceError

HEIF_ENDINGS = (".heic", ".heif", ".hif")
EXTENSIONS = (
    *(".avif", ".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    *(".webp", *HEIF_ENDINGS),
)
HEIF_BRANDS = (b"hei", b"hev", b"mif", b"msf")  # at byte 8, behind 'ftyp'
NEEDS_HEIF = "HEIC, which needs pillow-heif: pip install 'marginface[heic]'"


def read_image(
    path: str | Path, size: tuple[int, int] | None = (112, 112), *, resize: bool = False
) -> NDArray[np.uint8]:
    """Read an image file as RGB [height, width, 3]; see `decode_image`.

    Raises:
        MarginfaceError: as `decode_image`, or the file cannot be read.
    """
    return decode_image(read_file(path), path, size, resize=resize)


def decode_image(
    encoded: bytes,
    where: object,
    size: tuple[int, int] | None = (112, 112),
    *,
    resize: bool = False,
) -> NDArray[np.uint8]:
    """Decode an image to RGB [height, width, 3], turned upright as its EXIF says.

    Args:
        encoded: what an image file holds; grey, palette and CMYK images become RGB, transparency is
            dropped.
        where: its origin, with which messages begin: a file, a name, or an object whose `str` makes
            the name, where a name for each image would cost too much.
        size: expected (height, width) in pixels; None takes any.
        resize: stretch an image of another size instead of refusing it.

    Raises:
        MarginfaceError: truncated, no image, of more than 8 bits a channel, or of another size; the
            message begins with `where`.
    """
    if (fast := _plain_jpeg(encoded, size)) is not None:
        return fast
    with _opened(encoded, where) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    if size is not None and (image.height, image.width) != size:
        if not resize:
            raise wrong_size(where, (image.height, image.width), size)
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(image)


def _plain_jpeg(encoded: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """Decode a sound JPEG of the expected size, or return None: the rest is Pillow's, errors too.

    It takes half of Pillow's time, for the same pixels: both call libjpeg-turbo with its defaults.
    """
    if not encoded.startswith(b"\xff\xd8\xff") or b"Exif\0" in encoded:  # it might need turning
        return None
    try:
        *header_size, colors, _ = simplejpeg.decode_jpeg_header(encoded)
        if tuple(header_size) != size or colors not in ("YCbCr", "Gray"):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(encoded)
    except ValueError:
        return None
    return pixels


def decoded_size(encoded: bytes, where: str | Path) -> tuple[int, int]:
    """Return the (height, width) of what `decode_image` gives, from the header where it can.

    Raises:
        MarginfaceError: as `decode_image`, but for damage behind the header.
    """
    with _opened(encoded, where) as file:
        if file.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return file.height, file.width
    # Formats differ in whether the header's size is that before or after turning.
    height, width, _ = decode_image(encoded, where, None).shape
    return height, width


def encoded_format(encoded: bytes, where: str | Path) -> str:
    """Return the format of an encoded image: jpeg, png, bmp, ppm (of .pgm, too), tiff or webp.

    Raises:
        MarginfaceError: as `decode_image`, but for damage behind the header.
    """
    with _opened(encoded, where) as file:
        return str(file.format).lower().replace("mpo", "jpeg")  # MPO: a camera's JPEG, and more


def read_file(path: str | Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        MarginfaceError: it cannot be read; the message begins with the path.
    """
    try:
        # Without a buffer, a small file takes a fifth less.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes twice as long
            return file.read()
    except OSError as error:
        raise MarginfaceError(_unreadable(path, error.strerror or str(error))) from error


def without_ending(name: str) -> str:
    """Return an image's name without the ending of an image's format; other dots are the name's.

    >>> [without_ending(name) for name in ("ann/1.JPG", "J.P._Lee/J.P._Lee_0001", "bo/1.5")]
    ['ann/1', 'J.P._Lee/J.P._Lee_0001', 'bo/1.5']
    """
    stem, dot, ending = name.rpartition(".")
    is_ending = f"{dot}{ending}".lower() in EXTENSIONS
    return stem if is_ending and stem and not stem.endswith("/") else name


@cache
def has_heif() -> bool:
    """Teach Pillow to read HEIC images; return whether it can."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def file_stamp(path: Path) -> str:
    """Return a stamp that changes with the file; "none" where there is no file to look at."""
    try:
        status = path.stat()
    except OSError:
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"


def wrong_size(
    path: object, actual: tuple[int, int], expected: tuple[int, int], reason: str = ""
) -> MarginfaceError:
    """Return the error for an image of another (height, width) than expected."""
    larger = actual[0] >= expected[0] and actual[1] >= expected[1]
    crop = ", or cut out a part (evaluate and embed: --crop)" if larger else ""
    return MarginfaceError(
        f"{path}: the image is {actual[0]}x{actual[1]} (height x width), expected "
        f"{expected[0]}x{expected[1]}{reason}; align it to that size, scale it with --resize "
        f"(resize=True){crop}"
    )


@contextmanager
def _opened(encoded: bytes, where: object) -> Iterator[Image.Image]:
    """Open an encoded image; a failure here or in the block becomes one line that names it."""
    maybe_heif = encoded[4:8] == b"ftyp"
    if maybe_heif:
        has_heif()
    try:
        with Image.open(BytesIO(encoded)) as file:
            # 16-bit and float pixels would be clipped to white on the way to RGB.
            if file.mode.startswith("I") or file.mode == "F":
                raise ValueError(f"pixel mode {file.mode} has more than 8 bits a channel")
            yield file
            return
    except UnidentifiedImageError:
        heif = maybe_heif and encoded[8:11] in HEIF_BRANDS and not has_heif()
        reason = NEEDS_HEIF if heif else "not an image in a known format"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        reason = str(error) or type(error).__name__
    raise MarginfaceError(_unreadable(where, reason))


def _unreadable(where: object, reason: str) -> str:
    return f"{where}: cannot read the image: {' '.join(reason.split())}; replace it"
