"""Augmentations that lose detail, as poor cameras and files do."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from marginface.data.augmentation.kinds import Pixels

FILTERS = (
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def low_resolution(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Shrink to 0.2 to 1 of each side and enlarge again, one time in five.

    Each way takes one of five filters: nearest, bilinear, box, bicubic, Lanczos.

    Source: AdaFace, arXiv 2204.00964, section 4.1, and its code. There OpenCV's filters skip
    pixels when they shrink; Pillow's average over all of them.
    """
    if rng.random() >= 0.2:
        return image
    share = rng.uniform(0.2, 1.0)
    height, width = image.shape[:2]
    down, up = rng.integers(len(FILTERS), size=2)
    small = (max(int(share * width), 1), max(int(share * height), 1))
    resized = Image.fromarray(image).resize(small, FILTERS[down])
    return np.array(resized.resize((width, height), FILTERS[up]))


def blur(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur by a Gaussian of standard deviation 0.5 to 2 pixels, one time in five.

    The deviation is for images 112 pixels high, and in proportion for others.
    """
    if rng.random() >= 0.2:
        return image
    deviation = rng.uniform(0.5, 2.0) * image.shape[0] / 112
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(deviation)))


def jpeg(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Pass through a JPEG file of quality 10 to 90, one time in five."""
    if rng.random() >= 0.2:
        return image
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(rng.integers(10, 91)))
    with Image.open(file) as lossy:
        return np.array(lossy)
