"""Encode images for a packed set: those that fit are copied as they are."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from marginface.data.images import decode_image, decoded_size, encoded_format, without_ending
from marginface.errors import MarginfaceError

FORMATS = ("jpeg", "png")
EXTENSIONS_OF = {
    "jpeg": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "ppm": (".ppm", ".pgm"),
    "tiff": (".tif", ".tiff"),
    "heif": (".heic", ".heif", ".hif"),
}
QUALITY = 95  # with colour in full resolution the loss is hardly visible


@dataclass(frozen=True)
class Encoding:
    """The format and size of a set's images; an image that has both stays byte for byte.

    Args:
        size: (height, width) in pixels to which images are scaled; None leaves their sizes.
        format: jpeg or png; None leaves their formats, but what is scaled and was neither of
            these becomes PNG.

    Raises:
        MarginfaceError: an unknown format, or a size below one pixel.
    """

    size: tuple[int, int] | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        if self.format not in (None, *FORMATS):
            raise MarginfaceError(
                f"unknown image format '{self.format}'; expected {' or '.join(FORMATS)}"
            )
        if self.size is not None and min(self.size) < 1:
            raise MarginfaceError(f"size must be at least 1 pixel each way, got {self.size}")

    def __call__(self, encoded: bytes, where: str | Path) -> bytes:
        """Return the image, after decoding it whole.

        Raises:
            MarginfaceError: it cannot be decoded; the message begins with `where`.
        """
        image_format = encoded_format(encoded, where)
        fits = self.size in (None, decoded_size(encoded, where))
        pixels = decode_image(encoded, where, self.size, resize=not fits)
        if fits and self.format in (None, image_format):
            return encoded
        image = Image.fromarray(pixels)
        written = BytesIO()
        if (self.format or image_format) == "jpeg":
            image.save(written, "jpeg", quality=QUALITY, subsampling=0)
        else:
            image.save(written, "png")
        return written.getvalue()


def with_extension(name: str, encoded: bytes) -> str:
    """Return an image's name with an extension of its format: what fits stays.

    >>> with_extension("ann/1.pgm", Encoding(format="png")(b"P5 1 1 255 0", "1.pgm"))
    'ann/1.png'
    """
    image_format = encoded_format(encoded, name)
    fitting = EXTENSIONS_OF.get(image_format, (f".{image_format}",))
    if name.lower().endswith(fitting):
        return name
    return without_ending(name) + fitting[0]
