"""Bringing images of another size to the one that a network takes."""

from __future__ import annotations

from PIL import Image, ImageOps

from marginface.model import Resize


def resized(image: Image.Image, size: tuple[int, int], how: Resize) -> Image.Image:
    """Return an image scaled to (height, width); see `Resizing`, True squeezes.

    >>> wide = Image.new("L", (4, 2), 255)
    >>> [resized(wide, (2, 2), how).tobytes().hex(" ", 2) for how in ("fit", "letterbox")]
    ['ffff ffff', 'ffff 0000']
    """
    shape, bilinear = (size[1], size[0]), Image.Resampling.BILINEAR
    if how == "fit":
        return ImageOps.fit(image, shape, bilinear)
    if how == "letterbox":
        return ImageOps.pad(image, shape, bilinear)
    return image.resize(shape, bilinear)
