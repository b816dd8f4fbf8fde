"""Reading image files, strictly: what cannot be decoded whole is refused by name."""

from __future__ import annotations

import ctypes
import os
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from marginface.data.metadata import without_metadata
from marginface.data.resizing import resized
from marginface.errors import MarginfaceError
from marginface.model import Resize
from marginface.regular import kind_of

T = TypeVar("T")

HEIF_ENDINGS = (".heic", ".heif", ".hif")
EXTENSIONS = (
    *(".avif", ".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff"),
    *(".webp", *HEIF_ENDINGS),
)
MAX_PIXELS = 268 * 10**6  # of an image: decoding takes 10 bytes for each
MAX_BYTES = 2**30  # of an image file
READING = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # Windows would change line ends
HELD_PIXELS = 2**26  # what has more and is scaled down anyway is halved as it is decoded
HEIF_BRANDS = (b"hei", b"hev", b"mif", b"msf")  # at byte 8, behind 'ftyp'
# What Pillow looks into: EXIF, an orientation in XMP, a profile too short to have a number.
_TOLD = (
    *(b"Exif\0", b"tiff:Orientation"),
    *(b"\xff\xe2\0\x0eICC_PROFILE\0", b"\xff\xe2\0\x0fICC_PROFILE\0"),
)
# By EXIF's orientation, what turns an image upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NEEDS_HEIF = "HEIC, which needs pillow-heif: pip install 'marginface[heic]'"


class DamagedMetadataWarning(UserWarning):
    """Warns of an image whose pixels are read, though what else its file holds is damaged."""


def read_image(
    path: str | Path,
    size: tuple[int, int] | None = (112, 112),
    *,
    resize: Resize = False,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Read an image file as RGB [height, width, 3]; see `decode_image`.

    Raises:
        MarginfaceError: as `decode_image`, or the file cannot be read.
    """
    return decode_image(read_file(path), path, size, resize=resize, max_pixels=max_pixels)


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], int]:
    """Read a photo as RGB, of more than `HELD_PIXELS` at a half, quarter, ... of its size.

    Returns:
        The pixels [height, width, 3], and by what its sides were divided: 1, 2, 4, ...

    Raises:
        MarginfaceError: as `read_image`.
    """
    image, factor = _decoded(read_file(path), path, 1, max_pixels)
    return np.array(image), factor


def upright_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image of Pillow's as RGB [height, width, 3], turned upright as its EXIF says.

    Raises:
        MarginfaceError: it cannot be decoded, or is of more than 16 bits a channel.
    """
    try:
        _require_range(image)
        return np.array(_upright(image)[0])
    except Exception as error:  # as in `_with_image`
        raise MarginfaceError(_unreadable("a PIL image", _reason(error))) from error


def decode_image(
    encoded: bytes,
    where: object,
    size: tuple[int, int] | None = (112, 112),
    *,
    resize: Resize = False,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode an image to RGB [height, width, 3], turned upright as its EXIF says.

    Damaged metadata (EXIF, comments, profiles) is passed over with a warning that names the image.

    Args:
        encoded: what an image file holds; grey, palette and CMYK images become RGB, transparency is
            dropped.
        where: its origin, with which messages begin: a file, a name, or an object whose `str` makes
            the name, where a name for each image would cost too much.
        size: expected (height, width) in pixels; None takes any.
        resize: bring an image of another size to it instead of refusing it, see `resized`; one of
            more than `HELD_PIXELS` is halved first, as often as it takes.
        max_pixels: what has more is not decoded.

    Raises:
        MarginfaceError: truncated, no image, of more than 16 bits a channel, too large, or of
            another size; the message begins with `where`.
    """
    small = size is not None and size[0] * size[1] <= max_pixels
    if small and (fast := _plain_jpeg(encoded, size)) is not None:
        return fast
    least = max(size) if resize and size is not None else None
    image, _ = _decoded(encoded, where, least, max_pixels)
    if size is not None and (image.height, image.width) != size:
        if not resize:
            raise wrong_size(where, (image.height, image.width), size)
        image = resized(image, size, resize)
    return np.array(image)


def _decoded(
    encoded: bytes, where: object, least: int | None, max_pixels: int
) -> tuple[Image.Image, int]:
    """Return a decoded image, and by what its sides were divided; warn of damaged metadata.

    Args:
        encoded: the file.
        where: its origin.
        least: pixels that the shorter side keeps where it is reduced; None never reduces it.
        max_pixels: what has more is not decoded.
    """

    def use(file: Image.Image) -> tuple[Image.Image, str, int]:
        factor = 1 if least is None else _reduction(file.size, least)
        return *_upright(file, factor), factor

    (image, damage, factor), lost = _with_image(encoded, where, use, max_pixels)
    if lost or damage:
        warnings.warn(  # always from the same place: Python then shows each message once
            f"{where}: the pixels are read, but not all else in the file: {lost or damage}",
            DamagedMetadataWarning,
            stacklevel=1,
        )
    return image, factor


def _reduction(size: tuple[int, int], least: int) -> int:
    """Return by what the sides of an image are divided to leave `HELD_PIXELS` or fewer.

    >>> [_reduction(size, 112) for size in ((8192, 8192), (8192, 8193), (20_000, 14_000))]
    [1, 2, 4]
    """
    factor = 1
    while size[0] * size[1] > HELD_PIXELS * factor**2 and min(size) >= 2 * factor * least:
        factor *= 2
    return factor


def _plain_jpeg(encoded: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """Decode a sound JPEG of the expected size, or return None: the rest is Pillow's, errors too.

    It takes half of Pillow's time, for the same pixels: both call libjpeg-turbo with its defaults.
    """
    if not encoded.startswith(b"\xff\xd8\xff") or any(map(encoded.__contains__, _TOLD)):
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

    def upright_size(file: Image.Image) -> tuple[int, int]:
        if _orientation(file)[0] in TURNS:
            # Formats differ in whether the header's size is that before or after turning.
            file, _ = _upright(file)
        return file.height, file.width

    return _with_image(encoded, where, upright_size)[0]


def pixel_count(path: str | Path) -> int:
    """Return how many pixels an image file announces; 0 where it cannot be read."""
    try:
        return _with_image(read_file(path), path, lambda file: file.width * file.height)[0]
    except MarginfaceError:
        return 0


def encoded_format(encoded: bytes, where: str | Path) -> str:
    """Return the format of an encoded image: jpeg, png, bmp, ppm (of .pgm, too), tiff or webp.

    Raises:
        MarginfaceError: as `decode_image`, but for damage behind the header.
    """
    name, _ = _with_image(encoded, where, lambda file: str(file.format).lower())
    return name.replace("mpo", "jpeg")  # MPO: a camera's JPEG, and more


def read_file(path: str | Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        MarginfaceError: it cannot be read; the message begins with the path.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a third of pathlib's time
        if kind := kind_of(status.st_mode):
            raise MarginfaceError(_unreadable(path, f"it is {kind}"))
        if status.st_size > MAX_BYTES:
            raise MarginfaceError(
                _unreadable(path, f"it is larger than {MAX_BYTES >> 30} GB, as no photo is")
            )
        file = os.open(path, READING)  # a file object takes as long as a small file's reading
        try:
            # The length is a hint alone: what is read is read to its end.
            parts = iter(partial(os.read, file, status.st_size + 1), b"")
            return b"".join(parts)
        finally:
            os.close(file)
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


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to the terminal what it names no file in; Pillow raises, too."""
    with suppress(AttributeError, OSError):  # a Pillow built without it, or around it
        library = ctypes.CDLL(_imaging.__file__)  # and what that was linked to
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


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
    crop = ", or cut out a part (--crop)" if larger else ""
    return MarginfaceError(
        f"{path}: the image is {actual[0]}x{actual[1]} (height x width), expected "
        f"{expected[0]}x{expected[1]}{reason}; make a crop of a photo with marginface data align "
        f"--size {expected[0]}x{expected[1]}, scale it with --resize{crop}"
    )


def _with_image(
    encoded: bytes, where: object, use: Callable[[Image.Image], T], max_pixels: int = MAX_PIXELS
) -> tuple[T, str]:
    """Return what `use` makes of an opened image, and which metadata were left out for it, if any.

    Raises:
        MarginfaceError: neither the whole file nor its picture alone can be read, or it is larger.
    """
    try:
        return _used(encoded, use, max_pixels), ""
    except Image.DecompressionBombError as error:
        raise MarginfaceError(
            f"{where}: the image has more than {max_pixels / 1e6:,g} million pixels; scale it "
            "down, or allow more (--max-megapixels of data align and embed)"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        failure = error
    for orientation in (True, False):
        bare = without_metadata(encoded, orientation=orientation)
        if bare == encoded:
            continue
        try:
            result = _used(bare, use, max_pixels)
        except Exception:  # the first failure tells more
            continue
        unknown = isinstance(failure, UnidentifiedImageError)
        return result, "damaged metadata" if unknown else _reason(failure)
    reason = _reason(failure)
    heif = encoded[4:8] == b"ftyp" and encoded[8:11] in HEIF_BRANDS
    if isinstance(failure, UnidentifiedImageError) and heif and not has_heif():
        reason = NEEDS_HEIF
    raise MarginfaceError(_unreadable(where, reason)) from failure


def _used(encoded: bytes, use: Callable[[Image.Image], T], max_pixels: int) -> T:
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own, for all: it refuses what is twice that
    if encoded[4:8] == b"ftyp":
        has_heif()
    if encoded.startswith((b"II", b"MM")):
        _silence_libtiff()
    with Image.open(BytesIO(encoded)) as file:
        if file.width * file.height > max_pixels:
            raise Image.DecompressionBombError
        _require_range(file)
        return use(file)


def _require_range(image: Image.Image) -> None:
    """Raise for pixels whose white is not known: they would be clipped on the way to RGB."""
    if image.mode in ("I", "F"):
        raise ValueError(
            f"pixel mode {image.mode} has more than 16 bits a channel, and does not say how bright "
            "white is"
        )


def _upright(file: Image.Image, factor: int = 1) -> tuple[Image.Image, str]:
    """Return an opened image as RGB, turned upright, and what is wrong with its EXIF, if any.

    Its sides are divided by `factor`, a power of two: of a JPEG while it is decoded, up to 8.
    """
    width = file.width
    if factor > 1:
        file.draft(None, (width // factor, file.height // factor))
    left = factor // round(width / file.width)
    file.load()  # of some formats, this turns it, or gives the EXIF
    orientation, damage = _orientation(file)
    image = file.transpose(TURNS[orientation]) if orientation in TURNS else file
    if image.mode.startswith("I;16"):  # Pillow would clip it to 8 bits
        image = Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    image = image if image.mode == "RGB" else image.convert("RGB")
    return (image if left == 1 else image.reduce(left)), damage


def _orientation(file: Image.Image) -> tuple[int, str]:
    """Return EXIF's orientation, 1 where it tells none, and what is wrong with the EXIF, if any."""
    orientation = 1
    try:
        exif = file.getexif()
        told = exif.get(ExifTags.Base.Orientation, 1)
        if not isinstance(told, int):
            return 1, f"EXIF orientation {told!r}"
        orientation = told
        held = (file.info.get("exif") or b"").removeprefix(b"Exif\0\0")
        if held:
            order = "<" if held[:2] == b"II" else ">"
            (start,) = struct.unpack_from(f"{order}I", held, 4)
            (entries,) = struct.unpack_from(f"{order}H", held, start)
            if len(exif) < entries:  # Pillow leaves out what it cannot read
                return orientation, f"EXIF announces {entries} entries, {len(exif)} can be read"
        if orientation in TURNS:
            exif.tobytes()  # fails on values that are not of their tag's type
    except Exception as error:  # as above
        return orientation, f"EXIF: {_reason(error)}"
    return orientation, ""


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, struct.error):
        return "a value of a wrong type or length"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__


def _unreadable(where: object, reason: str) -> str:
    return f"{where}: cannot read the image: {reason}; replace it"
